//! The beginning of a pass, and its signs of life.

use std::{future::Future, pin::pin, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Pass, Progress, Report, Watched, apply, frontier::Frontier};
use crate::{
    calcom::Source,
    model::RunOutcome,
    store::{BeginRun, Begun, Error, Run},
};

/// So many beats without a sign of life, and a pass counts as dead.
const MISSED_BEATS: u32 = 3;

impl<S: Source> Pass<'_, S> {
    /// How often a pass shows that it is alive, unless somebody has reasons.
    pub const BEAT: Duration = Duration::from_secs(10);

    /// Takes the client's fence, or reports why there is no pass.
    ///
    /// A pass of the schedule gives way to one of another process. One that is silent may be dead, as after a crash: so this
    /// waits until it has shown a sign of life or missed too many of them.
    pub(super) async fn begin(&self, watched: &Watched, cancel: &CancellationToken) -> Result<Run, Report> {
        let begin = BeginRun {
            client_id: &self.client.id,
            client_name: &self.client.name,
            base_url: self.base_url,
            trigger: self.trigger,
            accept_source: self.accept_source,
            process: self.process,
            token: fastrand::i64(..),
            silence: self.beat * MISSED_BEATS,
            watched: watched.hash(),
            resume_since: self.resume_since,
        };
        if self.accept_source {
            self.tell_of_new_source().await;
        }
        let mut seen_alive = None;
        let mut told = false;
        loop {
            let begun = apply::with_retries(|| self.store.begin_run(&begin)).await;
            let (other, alive, is_alike) = match begun {
                Ok(Begun::Run(run)) => {
                    self.tell_of_resuming(&run);
                    return Ok(run);
                }
                Ok(Begun::Done { run }) => {
                    let why = format!("another calmirror made the pass of this tick, as run {run}");
                    // The tick has its pass, so there is nothing to put on record.
                    return Err(Report {
                        made_elsewhere: true,
                        ..Report::unmade(self, None, RunOutcome::Skipped, why)
                    });
                }
                Ok(Begun::UnderWay {
                    run,
                    heartbeat_at,
                    is_alike,
                }) => (run, heartbeat_at, is_alike),
                Err(error) => return Err(self.never_begun(error).await),
            };
            if !is_alike && !told {
                told = true;
                tracing::warn!(
                    client.name = %self.client.name,
                    "another calmirror mirrors this client with another list of users, run {other}; waiting for its end"
                );
            }
            // A pass over other users is no substitute, so its end is waited for.
            if is_alike && *seen_alive.get_or_insert((other, alive)) != (other, alive) {
                let why = format!("another calmirror is making a pass over this client, run {other}");
                return Err(self.skipped(why).await);
            }
            tokio::select! {
                () = cancel.cancelled() => {
                    let why = format!("it was asked to stop while it waited for run {other} of another calmirror");
                    return Err(self.skipped(why).await);
                }
                () = tokio::time::sleep(self.beat / 2) => {}
            }
        }
    }

    fn tell_of_resuming(&self, run: &Run) {
        if let Some(resumed) = run.resumed {
            tracing::info!(
                client.name = %self.client.name,
                run.id = run.id,
                run.resumes = resumed.run,
                user.id = resumed.done_to.map(|user| user.0),
                "an earlier pass was cut after this user; going on from there"
            );
        }
    }

    async fn tell_of_new_source(&self) {
        if let Ok(Some(recorded)) = apply::bounded(self.store.source_of(&self.client.id)).await
            && recorded != self.base_url
        {
            tracing::info!(
                client.name = %self.client.name,
                "the client was mirrored from {recorded}, and is from {} from now on, as the operator says",
                self.base_url
            );
        }
    }

    async fn skipped(&self, why: String) -> Report {
        let recorded = self.store.record_run(
            &self.client.id,
            &self.client.name,
            self.trigger,
            RunOutcome::Skipped,
            &why,
        );
        let run_id = match apply::bounded(recorded).await {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::debug!(error = %error, "the skipped pass could not be recorded");
                None
            }
        };
        Report::unmade(self, run_id, RunOutcome::Skipped, why)
    }

    /// Does a pass's work, showing signs of life; `overtaken` is cancelled once another pass has begun.
    pub(super) async fn while_alive<T>(
        &self,
        run: &Run,
        frontier: Option<&Frontier>,
        overtaken: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> T {
        let beats = async {
            loop {
                let mut beat = pin!(tokio::time::sleep(self.beat));
                loop {
                    tokio::select! {
                        () = &mut beat => break,
                        () = self.source.rate_news() => self.note_rate(self.beat).await,
                    }
                }
                let mut beat = self.progress_now().map(Progress::beat).unwrap_or_default();
                beat.done_to = frontier.and_then(Frontier::done_to).map(|user| user.0);
                match apply::bounded(self.store.heartbeat(run, beat)).await {
                    Ok(()) => self.note_rate(self.beat).await,
                    Err(Error::Fenced { .. }) => {
                        overtaken.cancel();
                        break;
                    }
                    // The batches will find out as well, and know what to do.
                    Err(error) => tracing::debug!(error = %error, "a sign of life could not be given"),
                }
            }
        };
        let mut work = pin!(work);
        let done = tokio::select! {
            done = &mut work => done,
            () = beats => work.await,
        };
        self.note_rate(Duration::ZERO).await;
        done
    }
}
