//! Whether something is to be told of a client, by what was told and what is.

#[cfg(test)]
mod tests;

use crate::{
    health::{ClientHealth, Condition, Reason},
    store::{Due, Notice},
};

/// What of a client is told: each of these, and that there is none of them any more.
const TOLD: [Condition; 3] = [Condition::Refused, Condition::Held, Condition::Stale];

/// What is to be put on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was told to be wrong and still is.
    pub told: Vec<String>,
    pub due: Option<Due>,
}

/// What is to be done about a client; none: nothing.
///
/// Whatever becomes wrong is told, and that all is well only after something else was told. A message that was not delivered is
/// dropped when it is no longer true. One that may have been delivered counts as told.
///
/// Another set of removals in the place of the one that was told is told as well, since it is another that waits for approval. Not
/// though where something was told lately: a set that changes with each pass would be told with each pass.
pub fn decide(notice: &Notice, health: &ClientHealth) -> Option<Decision> {
    if notice.claimed {
        // What becomes of it has to be known first.
        return None;
    }
    let held = health.reasons.iter().find_map(|reason| match reason {
        Reason::Held { first_run_id, .. } => Some(*first_run_id),
        _ => None,
    });
    let is_so = |condition: &Condition| {
        health
            .reasons
            .iter()
            .any(|reason| reason.condition() == *condition)
    };
    let wrong: Vec<&str> = TOLD.iter().filter(|is| is_so(is)).map(|is| is.as_str()).collect();
    let was_told = |condition: &&&str| notice.told.iter().any(|told| told == **condition);
    let is_told_or_due = |condition: &str| {
        let due = notice.due.iter().flat_map(|due| &due.wrong);
        notice.told.iter().chain(due).any(|known| known == condition)
    };
    // A user that answers again ends the wait of its set in the middle of a pass, whose end says what is held then.
    let may_be_held = health.under_way && held.is_none() && is_told_or_due(Condition::Held.as_str());
    if may_be_held && wrong.iter().all(|condition| is_told_or_due(condition)) {
        return None;
    }
    // The worst comes first.
    let new = wrong.iter().find(|condition| !was_told(condition));
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let is_another = held.is_some() && held != notice.told_held && !notice.told_lately;
    let due = match new.copied().or(is_another.then_some(Condition::Held.as_str())) {
        Some(new) => Some(Due {
            kind: format!("client.{new}"),
            wrong: texts(&wrong),
            held,
        }),
        // A client that was never mirrored is not well.
        None if notice.alarmed && health.condition == Condition::Well => Some(Due {
            kind: "client.well".to_owned(),
            wrong: Vec::new(),
            held: None,
        }),
        None => None,
    };
    let told: Vec<&str> = wrong.iter().filter(was_told).copied().collect();
    let is_on_record = notice.due == due && notice.told.len() == told.len();
    (!is_on_record).then(|| Decision {
        told: texts(&told),
        due,
    })
}
