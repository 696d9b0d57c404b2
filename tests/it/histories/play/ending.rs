//! How every history ends: in quiet, and so in agreement.

use calmirror::model::RunOutcome;

use super::Play;
use crate::histories::steps::Course;

impl Play<'_> {
    /// No fault, nothing new: the passes converge, and then nothing is written any more.
    pub(super) async fn quiet_end(&mut self) -> Result<(), String> {
        self.faults.clear();
        self.source.mend_all();
        for _ in 1..self.terms.confirmations.max(2) {
            self.one_pass(&Course::Whole).await?;
        }
        let report = self.one_pass(&Course::Whole).await?;
        self.converged(report.is_some_and(|report| report.outcome == RunOutcome::Held))
            .await?;
        let before = self.tuples().await;
        self.one_pass(&Course::Whole).await?;
        if self.tuples().await == before {
            Ok(())
        } else {
            Err("a pass over an unchanged source has touched a row".to_owned())
        }
    }

    /// Whoever is watched is in the mirror as at the source, unless the guard has a reason to hold removals.
    async fn converged(&self, held: bool) -> Result<(), String> {
        let live: Vec<i64> = sqlx::query_scalar("select id from managed_users where removed_at is null")
            .fetch_all(self.pool)
            .await
            .expect("users can be read");
        let living = self.source.living();
        let watched = self.watched();
        let lost: Vec<&i64> = watched
            .iter()
            .filter(|user| living.contains(user) && !live.contains(user))
            .collect();
        if !lost.is_empty() {
            return Err(format!("{lost:?} are alive, and not so in the mirror"));
        }
        let known: Vec<&i64> = watched.iter().filter(|user| live.contains(user)).collect();
        let gone = known.iter().filter(|user| !living.contains(user)).count();
        let limit = (known.len() * usize::from(self.terms.max_percent) / 100)
            .max(usize::try_from(self.terms.max_count).expect("it is small"));
        let control = watched.iter().any(|user| living.contains(user));
        let may_hold = !control || gone > limit;
        match (held, gone) {
            (true, _) if !may_hold => Err(format!("{gone} removals are held, and {limit} are allowed")),
            (false, 1..) => Err(format!("{gone} users are gone, neither removed nor held")),
            _ => Ok(()),
        }
    }

    /// Every tuple that an unchanged pass leaves alone. What is on record of users whose removal is held goes on.
    async fn tuples(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select id || ' ' || ctid::text || xmin::text || '/' || xmax::text from managed_users
             union all
             select change_id || ' change ' || ctid::text || xmin::text from managed_user_changes
             union all
             select user_id || ' reject ' || ctid::text || xmin::text from rejects
             union all
             select user_id || ' missing ' || ctid::text || xmin::text from missing_users
             where user_id not in (select id from managed_users)
             order by 1",
        )
        .fetch_all(self.pool)
        .await
        .expect("the tables can be read")
    }
}
