//! What is told, over what is and what was told.

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::*;
use crate::health::Reason;

/// How a client is with these reasons; without any it is well.
fn health(conditions: &[Condition]) -> ClientHealth {
    let at: DateTime<Utc> = DateTime::UNIX_EPOCH;
    let reasons: Vec<Reason> = conditions
        .iter()
        .filter_map(|condition| {
            Some(match condition {
                Condition::Refused => Reason::Refused {
                    error: "refused".to_owned(),
                    run_id: 1,
                    at: None,
                },
                Condition::Held => Reason::Held {
                    users: 9,
                    run_id: 1,
                    first_run_id: 1,
                    since: at,
                },
                Condition::Stale => Reason::Stale { since: at },
                Condition::Never => Reason::Never,
                Condition::Well => return None,
            })
        })
        .collect();
    ClientHealth {
        client: "acme".to_owned(),
        client_id: "clacme".to_owned(),
        condition: reasons
            .iter()
            .map(Reason::condition)
            .max()
            .unwrap_or(Condition::Well),
        reasons,
        fresh: true,
        lag_s: None,
        last_complete_at: None,
        fresh_until: None,
        fresh_since: None,
        under_way: false,
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// What is on record once the message was delivered.
fn delivered(decision: Decision) -> Notice {
    let due = decision.due.expect("something was to be told");
    Notice {
        alarmed: due.kind != "client.well",
        told: due.wrong,
        told_held: due.held,
        ..Notice::default()
    }
}

/// The type of the message that is told, and what is on record afterwards.
fn tell(notice: &Notice, conditions: &[Condition]) -> (Option<String>, Notice) {
    match decide(notice, &health(conditions)) {
        None => (None, notice.clone()),
        Some(decision) => match &decision.due {
            Some(due) => (Some(due.kind.clone()), delivered(decision)),
            None => (
                None,
                Notice {
                    told: decision.told,
                    due: None,
                    ..notice.clone()
                },
            ),
        },
    }
}

#[test]
fn each_becoming_is_told_once_and_well_only_after_something_else() {
    use Condition::{Held, Never, Refused, Stale};
    let mut notice = Notice::default();
    for (now, expected) in [
        (&[Never][..], None),
        (&[], None),
        (&[Held], Some("client.held")),
        (&[Held], None),
        (&[Held, Stale], Some("client.stale")),
        (&[Stale], None),
        (&[Held, Stale], Some("client.held")),
        (&[Refused, Held, Stale], Some("client.refused")),
        (&[Stale], None),
        (&[], Some("client.well")),
        (&[], None),
        (&[Refused, Never], Some("client.refused")),
        // Taken back, and not well for it.
        (&[Never], None),
        (&[], Some("client.well")),
        (&[Refused, Stale], Some("client.refused")),
        (&[Stale], None),
        (&[], Some("client.well")),
    ] {
        let (told, next) = tell(&notice, now);
        assert_eq!(told.as_deref(), expected, "{now:?} after {notice:?}");
        notice = next;
    }
}

#[test]
fn what_was_not_delivered_is_dropped_when_it_is_no_longer_so() {
    let due = Due {
        kind: "client.held".to_owned(),
        wrong: texts(&["held"]),
        held: Some(1),
    };
    let waiting = Notice {
        due: Some(due.clone()),
        ..Notice::default()
    };
    assert_eq!(decide(&waiting, &health(&[Condition::Held])), None, "it is kept");
    let nothing = Decision {
        told: Vec::new(),
        due: None,
    };
    assert_eq!(decide(&waiting, &health(&[])), Some(nothing));
    // It may have been delivered.
    let unsure = Notice {
        alarmed: true,
        ..waiting.clone()
    };
    let (told, _) = tell(&unsure, &[]);
    assert_eq!(told.as_deref(), Some("client.well"));
    // What became worse meanwhile is told in its place.
    let worse = decide(&waiting, &health(&[Condition::Held, Condition::Stale])).and_then(|worse| worse.due);
    let worse = worse.expect("there is something to tell");
    assert_eq!(
        (worse.kind.as_str(), worse.wrong),
        ("client.held", texts(&["held", "stale"]))
    );
    let claimed = Notice {
        claimed: true,
        ..waiting
    };
    assert_eq!(decide(&claimed, &health(&[])), None, "somebody is sending it");
}

/// A client whose removals were first held by this pass.
fn held_by(pass: i64) -> ClientHealth {
    let mut health = health(&[Condition::Held]);
    for reason in &mut health.reasons {
        if let Reason::Held { first_run_id, .. } = reason {
            *first_run_id = pass;
        }
    }
    health
}

#[test]
fn another_set_is_told_though_not_right_after_a_message() {
    let told = Notice {
        told: texts(&["held"]),
        alarmed: true,
        told_held: Some(7),
        ..Notice::default()
    };
    assert_eq!(decide(&told, &held_by(7)), None);
    let due = decide(&told, &held_by(9)).and_then(|decision| decision.due);
    let expected = Due {
        kind: "client.held".to_owned(),
        wrong: texts(&["held"]),
        held: Some(9),
    };
    assert_eq!(due.as_ref(), Some(&expected));
    let lately = Notice {
        told_lately: true,
        ..told.clone()
    };
    assert_eq!(
        decide(&lately, &held_by(9)),
        None,
        "a message a pass would be too much"
    );
    // What was not delivered is brought up to date, and dropped when the set that was told is there again.
    let waiting = Notice { due, ..told };
    assert_eq!(decide(&waiting, &held_by(9)), None);
    let newer = decide(&waiting, &held_by(11)).and_then(|decision| decision.due);
    assert_eq!(newer.and_then(|due| due.held), Some(11));
    let dropped = decide(&waiting, &held_by(7)).expect("it is dropped");
    assert_eq!(dropped.due, None);
}

#[test]
fn a_pass_under_way_is_waited_for_before_what_was_held_counts_as_over() {
    let told = Notice {
        told: texts(&["held"]),
        alarmed: true,
        told_held: Some(7),
        ..Notice::default()
    };
    let waiting = Notice {
        due: Some(Due {
            kind: "client.held".to_owned(),
            wrong: texts(&["held"]),
            held: Some(7),
        }),
        ..Notice::default()
    };
    let under_way = |conditions: &[Condition]| ClientHealth {
        under_way: true,
        ..health(conditions)
    };
    for notice in [&told, &waiting] {
        assert_eq!(decide(notice, &under_way(&[])), None);
        assert!(decide(notice, &health(&[])).is_some(), "it has ended");
        // What is new is told all the same.
        let due = decide(notice, &under_way(&[Condition::Stale])).and_then(|decision| decision.due);
        assert_eq!(due.map(|due| due.kind).as_deref(), Some("client.stale"));
    }
    // What was never told to be held may be well again while the next pass is under way.
    let stale = Notice {
        told: texts(&["stale"]),
        alarmed: true,
        ..Notice::default()
    };
    let due = decide(&stale, &under_way(&[])).and_then(|decision| decision.due);
    assert_eq!(due.map(|due| due.kind).as_deref(), Some("client.well"));
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    prop::sample::subsequence(
        vec![
            Condition::Refused,
            Condition::Held,
            Condition::Stale,
            Condition::Never,
        ],
        0..=4,
    )
}

proptest! {
    /// Whatever happens, and however deliveries end: once things stay as they are and a message gets through, the receiver knows.
    #[test]
    fn in_the_end_the_receiver_knows(
        steps in prop::collection::vec((conditions(), 0..4_u8), 0..12),
        last in conditions(),
    ) {
        let mut notice = Notice::default();
        // What the receiver believes.
        let mut alarm = false;
        let steps = steps.into_iter().chain([(last.clone(), 0), (last.clone(), 0)]);
        for (now, how) in steps {
            if let Some(decision) = decide(&notice, &health(&now)) {
                notice = Notice { told: decision.told, due: decision.due, ..notice };
            }
            let Some(due) = notice.due.clone() else { continue };
            let before = notice.alarmed;
            let is_alarm = due.kind != "client.well";
            match how {
                // Delivered.
                0 => {
                    alarm = is_alarm;
                    notice = Notice {
                        told: due.wrong, told_held: due.held, alarmed: is_alarm, ..Notice::default()
                    };
                }
                // Refused.
                1 => notice.alarmed = before,
                // Delivered, and the answer lost.
                2 => {
                    alarm = is_alarm;
                    notice.alarmed = before || is_alarm;
                }
                // Lost on the way, as far as anybody knows.
                _ => notice.alarmed = before || is_alarm,
            }
        }
        let is_wrong = last.iter().any(|condition| *condition != Condition::Never);
        let is_well = last.is_empty();
        prop_assert!(!is_wrong || alarm, "nobody told of {last:?}");
        prop_assert!(!is_well || !alarm, "nobody told that it is over");
    }
}
