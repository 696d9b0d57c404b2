//! What signals tell the process: to end, where a first one asks and a second insists, or to read its configuration again.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Listens for SIGTERM and SIGINT for as long as it is kept.
#[derive(Debug)]
pub struct Shutdown {
    token: CancellationToken,
    _listener: JoinSet<()>,
}

/// Ten seconds is what `docker stop` and our systemd unit wait before they kill. Two of them are kept for what comes after
/// the passes: closing connections, stopping an embedded Postgres.
const GRACE: Duration = Duration::from_secs(8);

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
        let token = CancellationToken::new();
        let mut listener = JoinSet::new();
        listener.spawn(listen(signals, token.clone(), told, leave));
        Ok(Self {
            token,
            _listener: listener,
        })
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
        self.token.cancelled().await;
        tokio::time::sleep(GRACE).await;
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
}
