//! Asking for each user, a bounded number at a time.

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{Course, queue::Sender};
use crate::{
    calcom::{Disposition, Source},
    model::UserId,
};

/// So many users in a row without an answer, each after its retries, mean that Cal.com is away: asking for the others
/// would only take long.
const MAX_UNAVAILABLE_IN_A_ROW: u32 = 10;

/// So many in a row for any reason mean the same, or that what answers is not Cal.com. More than the above, since some
/// reasons are a single user's, and users of a kind may stand together.
const MAX_FAILURES_IN_A_ROW: u32 = 100;

/// Sends an observation for each user that Cal.com says something about. Ends early when the client as a whole is refused,
/// when Cal.com is away, when `cancel` is cancelled, or when nobody takes the observations any more.
pub(super) async fn fetch<S: Source>(
    source: &S,
    users: &[UserId],
    concurrency: usize,
    cancel: &CancellationToken,
    observations: Sender<'_>,
    told: impl Fn(u64),
) -> Course {
    let mut course = Course::default();
    let mut unavailable_in_a_row = 0;
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
                unavailable_in_a_row = 0;
                failures_in_a_row = 0;
                if !observations.send(observation).await {
                    break;
                }
                told(1);
            }
            Some((id, Err(error))) => {
                tracing::debug!(user.id = id.0, error = %error, "nothing was learned of a user");
                course.unanswered += 1;
                failures_in_a_row += 1;
                // A refusal of one user, as opposed to trouble, is neither here nor there.
                if error.disposition() == Disposition::Retry || error.is_unavailable() {
                    unavailable_in_a_row += 1;
                }
                if error.disposition() == Disposition::StopClient
                    || unavailable_in_a_row >= MAX_UNAVAILABLE_IN_A_ROW
                    || failures_in_a_row >= MAX_FAILURES_IN_A_ROW
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
