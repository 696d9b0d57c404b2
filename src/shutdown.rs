//! What signals tell the process: to end, where a first one asks and a second insists, or to read its configuration again.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Listens for SIGTERM and SIGINT for as long as it is kept.
#[derive(Debug)]
pub struct Shutdown {
    token: CancellationToken,
    told: Told,
    _listener: JoinSet<()>,
}

/// When the first signal came.
type Told = Arc<OnceLock<Instant>>;

/// For work under way, from the first signal on. What comes after it has the rest until [`END`]: last answers, closing
/// connections, stopping an embedded Postgres.
pub const GRACE: Duration = Duration::from_secs(7);

/// From the first signal to the end of everything. `docker stop` kills after ten seconds, and leaving takes a moment too.
pub const END: Duration = Duration::from_secs(9);

/// For threads that are in the middle of something when everything else is over, such as the look-up of a name.
pub const LAST_THREADS: Duration = Duration::from_millis(250);

/// By custom, a process that a signal ended has 128 and the signal's number for its exit code.
const SIGNALLED: i32 = 128;

impl Shutdown {
    /// Takes over both signals. Needs a runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        Self::listening(|| {
            tracing::info!(
                shutdown.grace_s = GRACE.as_secs(),
                "told to end, finishing what is under way; a second signal leaves at once"
            );
        })
    }

    /// As [`Shutdown::install`], for what has nothing to finish: the first signal is not logged.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn install_quietly() -> io::Result<Self> {
        Self::listening(|| {})
    }

    fn listening(told: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self::of(signals, told))
    }

    fn of(signals: impl Source + 'static, told: impl FnOnce() + Send + 'static) -> Self {
        let (token, told_at) = (CancellationToken::new(), Told::default());
        let mut listener = JoinSet::new();
        let begins = {
            let told_at = Arc::clone(&told_at);
            move || {
                told_at.get_or_init(Instant::now);
                told();
            }
        };
        listener.spawn(listen(signals, token.clone(), begins, leave));
        Self {
            token,
            told: told_at,
            _listener: listener,
        }
    }

    /// Is cancelled by the first signal.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// How long work under way may go on after the first signal.
    pub const fn grace(&self) -> Duration {
        GRACE
    }

    /// Comes when the first signal is as long ago as the grace period.
    pub async fn overdue(&self) {
        self.since_the_signal(GRACE).await;
    }

    /// What the work gives; none where it is not over [`END`] after the first signal. It is dropped then.
    pub async fn by_the_end<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.since_the_signal(END) => None,
        }
    }

    async fn since_the_signal(&self, time: Duration) {
        self.token.cancelled().await;
        sleep_until(*self.told.get_or_init(Instant::now) + time).await;
    }
}

/// SIGHUP, which by custom asks a daemon to read its configuration again.
#[derive(Debug)]
pub struct Reloads(Signal);

impl Reloads {
    /// Takes over the signal, for as long as the process lives: it ends nothing any more. Needs a runtime.
    ///
    /// # Errors
    /// When the system refuses the handler.
    pub fn install() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next signal. Those that come between two calls are one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // There is no way to hear of another.
            std::future::pending::<()>().await;
        }
    }
}

/// Where signals come from; a test has its own.
trait Source: Send {
    fn next(&mut self) -> impl Future<Output = SignalKind> + Send;
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Source for Signals {
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}

async fn listen(
    mut source: impl Source,
    token: CancellationToken,
    told: impl FnOnce(),
    leave: impl FnOnce(i32),
) {
    source.next().await;
    told();
    token.cancel();
    let second = source.next().await;
    leave(SIGNALLED + second.as_raw_value());
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever signals twice does not want to wait for main"
)]
fn leave(code: i32) {
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use tokio::sync::mpsc;

    use super::*;

    impl Source for mpsc::Receiver<SignalKind> {
        async fn next(&mut self) -> SignalKind {
            self.recv().await.expect("a signal")
        }
    }

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_leaves_with_its_code() {
        for (second, code) in [(SignalKind::interrupt(), 130), (SignalKind::terminate(), 143)] {
            let (signals, source) = mpsc::channel(1);
            let (left, leaving) = sync_channel(1);
            let token = CancellationToken::new();
            let leave = move |code| left.send(code).expect("the test listens");
            let listener = tokio::spawn(listen(source, token.clone(), || {}, leave));
            signals.send(SignalKind::terminate()).await.expect("a listener");
            token.cancelled().await;
            assert!(leaving.try_recv().is_err(), "one signal does not leave");
            signals.send(second).await.expect("a listener");
            listener.await.expect("no panic");
            assert_eq!(leaving.try_recv(), Ok(code));
        }
    }

    #[tokio::test]
    async fn nothing_is_cancelled_before_a_signal() {
        let (_signals, source) = mpsc::channel(1);
        let token = CancellationToken::new();
        let listening = listen(source, token.clone(), || {}, |_| panic!("nobody signalled"));
        tokio::select! {
            biased;
            () = listening => panic!("nobody signalled"),
            () = tokio::task::yield_now() => {}
        }
        assert!(!token.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_hangs_the_end_comes_before_anybody_kills() {
        let (signals, source) = mpsc::channel(1);
        let shutdown = Shutdown::of(source, || {});
        signals.send(SignalKind::terminate()).await.expect("a listener");
        shutdown.token().cancelled().await;
        let told = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        // The time counts from the signal, not from when somebody begins to wait.
        shutdown.overdue().await;
        assert_eq!(told.elapsed().as_secs(), GRACE.as_secs());
        let hangs = shutdown.by_the_end(std::future::pending::<()>()).await;
        assert_eq!((hangs, told.elapsed().as_secs()), (None, END.as_secs()));
        assert_eq!(
            shutdown.by_the_end(async { 1 }).await,
            Some(1),
            "what is done is taken"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_without_a_signal() {
        let (_signals, source) = mpsc::channel(1);
        let shutdown = Shutdown::of(source, || {});
        let day = tokio::time::sleep(Duration::from_secs(24 * 60 * 60));
        assert_eq!(shutdown.by_the_end(day).await, Some(()));
    }
}
