//! Asking for each user, a bounded number at a time.

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Course;
use crate::{
    calcom::{Disposition, Source},
    model::{Observation, UserId},
};

/// So many users in a row without an answer, each after its retries, mean that Cal.com is away: asking for the others
/// would only take long.
const MAX_CONSECUTIVE_FAILURES: u32 = 10;

/// Sends an observation for each user that Cal.com says something about. Ends early when the client as a whole is refused,
/// when Cal.com is away, when `cancel` is cancelled, or when nobody takes the observations any more.
pub(super) async fn fetch<S: Source>(
    source: &S,
    users: &[UserId],
    concurrency: usize,
    cancel: &CancellationToken,
    observations: mpsc::Sender<Observation>,
    told: impl Fn(u64),
) -> Course {
    let mut course = Course::default();
    let mut failures_in_a_row = 0;
    let answers = stream::iter(users.iter().copied())
        .map(|id| async move { (id, source.get_user(id).await) })
        .buffer_unordered(concurrency.max(1));
    let mut answers = std::pin::pin!(answers);
    loop {
        let answer = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                course.cut = true;
                break;
            }
            answer = answers.next() => answer,
        };
        match answer {
            None => break,
            Some((_, Ok(observation))) => {
                failures_in_a_row = 0;
                if observations.send(observation).await.is_err() {
                    break;
                }
                told(1);
            }
            Some((id, Err(error))) => {
                tracing::debug!(user.id = id.0, error = %error, "nothing was learned of a user");
                course.unanswered += 1;
                failures_in_a_row = if error.is_unavailable() {
                    failures_in_a_row + 1
                } else {
                    0
                };
                if error.disposition() == Disposition::StopClient
                    || failures_in_a_row >= MAX_CONSECUTIVE_FAILURES
                {
                    course.stopped = Some(error);
                    break;
                }
                course.first_unanswered.get_or_insert((id, error));
            }
        }
    }
    course
}
