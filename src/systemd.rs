//! What systemd is told of the service, by the protocol of sd_notify(3): ready, alive, reloading, stopping.
//!
//! The crates for it read the environment themselves and wait where the socket is full. Here nothing waits: the scheduler's
//! loop calls this, and must not hang because systemd does.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

use crate::config::Environment;

/// A clock that is set back stops the scheduler's beat for ten seconds, and half of the watchdog's time must be longer.
const SHORTEST_WATCHDOG: Duration = Duration::from_secs(25);

/// Whoever supervises this process. Where nobody does, nothing is told.
#[derive(Debug, Default)]
pub struct Supervisor {
    channel: Option<Channel>,
    /// A sign of life is due when the last one is so long ago.
    feed_every: Option<Duration>,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Channel {
    socket: UnixDatagram,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct Told {
    ready: bool,
    fed: Option<Instant>,
}

impl Supervisor {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn of(environment: &Environment) -> Self {
        let channel = environment
            .notify_socket()
            .and_then(|name| match Channel::to(name) {
                Ok(channel) => Some(channel),
                Err(error) => {
                    tracing::warn!(%error, "systemd cannot be told how the service is");
                    None
                }
            });
        let watchdog = environment.watchdog().filter(|_| channel.is_some());
        if let Some(watchdog) = watchdog.filter(|watchdog| *watchdog < SHORTEST_WATCHDOG) {
            tracing::warn!(
                watchdog_s = watchdog.as_secs_f64(),
                "WatchdogSec is shorter than {} s: a clock that is set back can end the service",
                SHORTEST_WATCHDOG.as_secs()
            );
        }
        Self {
            channel,
            // A quarter, so that half is kept although beats are a second apart, or ten once in a while.
            feed_every: watchdog.map(|watchdog| watchdog / 4),
            told: Mutex::default(),
        }
    }

    /// The scheduler's loop has come round: the first time, the service is ready, and from then on it is alive.
    pub fn beat(&self) {
        let mut told = self.told();
        if !told.ready {
            // What does not get through is said again by the next beat.
            told.ready = self.tell("READY=1\nSTATUS=ready");
        }
        let is_due = |every| told.fed.is_none_or(|fed| fed.elapsed() >= every);
        if self.feed_every.is_some_and(is_due) && self.tell("WATCHDOG=1") {
            told.fed = Some(Instant::now());
        }
    }

    /// What `systemctl status` shows, in one line.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// The configuration is being read again. To be followed by [`Supervisor::reloaded`], whatever comes of it.
    pub fn reloading(&self) {
        if self.told().ready {
            match clock_gettime(ClockId::CLOCK_MONOTONIC) {
                Ok(now) => {
                    let usec = Duration::from(now).as_micros();
                    self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
                }
                Err(error) => tracing::debug!(%error, "there is no monotonic time"),
            }
        }
    }

    /// Reading it again is over.
    pub fn reloaded(&self) {
        let mut told = self.told();
        if told.ready {
            // Otherwise the next beat says it.
            told.ready = self.tell("READY=1");
        }
    }

    /// The service ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// True where it got through, or nobody listens.
    fn tell(&self, message: &str) -> bool {
        let Some(channel) = &self.channel else { return true };
        let sent = channel.socket.send_to_addr(message.as_bytes(), &channel.address);
        if let Err(error) = &sent {
            tracing::debug!(%error, message, "systemd could not be told");
        }
        sent.is_ok()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc::channel};

    use chrono_tz::Tz;

    use super::*;
    use crate::{
        clock::SystemClock,
        schedule::{Cron, Scheduler, ticks},
    };

    /// Where systemd would listen.
    struct Listener {
        socket: UnixDatagram,
        dir: tempfile::TempDir,
    }

    impl Listener {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
            socket.set_nonblocking(true).expect("it is ours");
            Self { socket, dir }
        }

        fn supervisor(&self, watchdog: Duration) -> Supervisor {
            let socket = self.dir.path().join("notify").into_os_string();
            let usec = watchdog.as_micros().to_string().into();
            Supervisor::of(&Environment::from_pairs([
                ("NOTIFY_SOCKET", socket),
                ("WATCHDOG_USEC", usec),
            ]))
        }

        fn heard(&self) -> Vec<String> {
            let mut bytes = [0; 4096];
            std::iter::from_fn(|| {
                let length = self.socket.recv(&mut bytes).ok()?;
                Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
            })
            .collect()
        }
    }

    #[test]
    fn the_first_beat_is_ready_and_signs_of_life_come_when_they_are_due() {
        let listener = Listener::new();
        let supervisor = listener.supervisor(Duration::from_secs(3600));
        supervisor.beat();
        supervisor.beat();
        assert_eq!(listener.heard(), ["READY=1\nSTATUS=ready", "WATCHDOG=1"]);
        let supervisor = listener.supervisor(Duration::from_nanos(4_000));
        let mut fed = 0;
        while fed < 2 {
            supervisor.beat();
            fed += listener
                .heard()
                .iter()
                .filter(|heard| *heard == "WATCHDOG=1")
                .count();
        }
    }

    #[test]
    fn a_socket_may_have_an_abstract_name() {
        let name = format!("calmirror/{}/{}", std::process::id(), fastrand::u64(..));
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        let variable = [("NOTIFY_SOCKET", format!("@{name}"))];
        Supervisor::of(&Environment::from_pairs(variable)).stopping();
        let mut bytes = [0; 64];
        socket.set_nonblocking(true).expect("it is ours");
        let length = socket.recv(&mut bytes).expect("a message");
        assert_eq!(&bytes[..length], b"STOPPING=1\nSTATUS=stopping");
    }

    #[test]
    fn a_reload_begins_with_the_time_and_ends_ready() {
        let listener = Listener::new();
        let supervisor = listener.supervisor(Duration::from_secs(3600));
        supervisor.reloading();
        supervisor.reloaded();
        assert_eq!(listener.heard(), [""; 0], "it was never ready");
        supervisor.beat();
        listener.heard();
        supervisor.reloading();
        supervisor.reloaded();
        supervisor.stopping();
        let heard = listener.heard();
        let usec = heard[0].strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(
            usec.is_some_and(|usec| usec.parse::<u64>().is_ok_and(|usec| usec > 0)),
            "{heard:?}"
        );
        assert_eq!(heard[1..], ["READY=1", "STOPPING=1\nSTATUS=stopping"]);
    }

    #[test]
    fn what_systemd_does_not_take_is_said_again_and_nobody_waits() {
        let listener = Listener::new();
        let supervisor = listener.supervisor(Duration::from_secs(3600));
        // The queue of a datagram socket holds a few hundred messages at most.
        while supervisor.tell("STATUS=filling") {}
        supervisor.beat();
        assert!(listener.heard().iter().all(|heard| heard == "STATUS=filling"));
        supervisor.beat();
        assert_eq!(listener.heard(), ["READY=1\nSTATUS=ready", "WATCHDOG=1"]);
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_fed() {
        let listener = Listener::new();
        let socket = listener.dir.path().join("notify").into_os_string();
        let pairs = |pid: u32| {
            [
                ("NOTIFY_SOCKET", socket.clone()),
                ("WATCHDOG_USEC", "60000000".into()),
                ("WATCHDOG_PID", pid.to_string().into()),
            ]
        };
        Supervisor::of(&Environment::from_pairs(pairs(1))).beat();
        assert_eq!(listener.heard(), ["READY=1\nSTATUS=ready"]);
        Supervisor::of(&Environment::from_pairs(pairs(std::process::id()))).beat();
        assert_eq!(listener.heard()[1..], ["WATCHDOG=1"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_stuck_scheduler_feeds_no_watchdog() {
        let listener = Listener::new();
        let supervisor = listener.supervisor(Duration::from_nanos(4_000));
        let (release, stuck) = channel::<()>();
        let stuck = Mutex::new(stuck);
        let (came, mut round) = tokio::sync::mpsc::unbounded_channel();
        let on_beat = Arc::new(move || {
            supervisor.beat();
            came.send(()).ok();
            // The loop hangs here until the test lets it go.
            stuck.lock().expect("nobody panics").recv().ok();
        });
        let stuck = Scheduler::start(Vec::new(), Arc::new(SystemClock), on_beat)
            .await
            .expect("starts");
        round.recv().await.expect("a first beat");
        assert_eq!(listener.heard(), ["READY=1\nSTATUS=ready", "WATCHDOG=1"]);
        // Time goes on, as another scheduler shows, and so does the rest of the process.
        let (sender, mut ticks) = ticks();
        let second = Cron::parse("* * * * * *", Tz::UTC).expect("a cron");
        let other = Scheduler::start(vec![(second, sender)], Arc::new(SystemClock), Arc::new(|| {}));
        let other = other.await.expect("starts");
        for _ in 0..3 {
            ticks.waiting.recv().await.expect("a tick");
        }
        assert_eq!(listener.heard(), [""; 0], "the loop has not come round");
        drop(release);
        round.recv().await.expect("it comes round again");
        assert_eq!(listener.heard(), ["WATCHDOG=1"]);
        stuck.shutdown().await.expect("stops");
        other.shutdown().await.expect("stops");
    }
}
