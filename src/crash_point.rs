//! Named points at which the program kills itself when a test says so. Without the feature `failpoints` there is nothing of
//! them.
//!
//! `FAILPOINTS="batch::before_commit=1*off->return"` kills the program, as `kill -9` does, when it comes to that point for
//! the second time; `return(stop)` stops it there, as SIGSTOP does. The rest of the syntax is that of the crate `fail`.

/// Every point, in the order in which a pass comes to them.
pub const NAMES: [&str; 24] = [
    "migration::inside",
    "migration::before_commit",
    "migration::after_commit",
    "begin::before",
    "begin::inside",
    "begin::before_commit",
    "begin::after_commit",
    "request::before",
    "request::after",
    "batch::before",
    "batch::after_ledger",
    "batch::after_bookkeeping",
    "batch::before_commit",
    "batch::after_commit",
    "confirmation::before_commit",
    "confirmation::after_commit",
    "removals::before",
    "removals::after_ledger",
    "removals::before_commit",
    "removals::after_commit",
    "finish::before",
    "finish::inside",
    "finish::before_commit",
    "finish::after_commit",
];

/// Points at which nobody is killed: what comes there stands still, by `FAILPOINTS="scheduler::round=3*off->pause"`.
pub const HOLDS: [&str; 1] = ["scheduler::round"];

/// The place of a point: `crash_point!("batch::before_commit")`. The name is one of [`NAMES`], and each has one place.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::crash_point::reach($name);
    };
}

pub(crate) use crash_point;

/// The place of a point of [`HOLDS`]: `hold_point!("scheduler::round")`.
macro_rules! hold_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::crash_point::reach($name);
    };
}

pub(crate) use hold_point;

#[cfg(feature = "failpoints")]
pub use armed::{Unarmed, arm, reach};

#[cfg(feature = "failpoints")]
mod armed {
    use nix::sys::signal::{Signal, raise};

    use super::{HOLDS, NAMES};

    /// Why no point was armed.
    #[derive(Debug, thiserror::Error)]
    pub enum Unarmed {
        #[error("FAILPOINTS: {0} names no crash point")]
        Unknown(String),
        #[error("FAILPOINTS: {name}: {fault}")]
        Action { name: String, fault: String },
    }

    /// Arms the points of a list such as `begin::inside=return;batch::before=2*off->return`.
    ///
    /// # Errors
    ///
    /// When a point is not one of [`NAMES`] or [`HOLDS`], or an action cannot be parsed.
    pub fn arm(points: &str) -> Result<(), Unarmed> {
        for point in points.split(';').filter(|point| !point.is_empty()) {
            let (name, actions) = point.split_once('=').unwrap_or((point, ""));
            if !NAMES.iter().chain(&HOLDS).any(|known| *known == name) {
                return Err(Unarmed::Unknown(name.to_owned()));
            }
            fail::cfg(name, actions).map_err(|fault| Unarmed::Action {
                name: name.to_owned(),
                fault,
            })?;
        }
        Ok(())
    }

    /// Does what the point was armed with.
    pub fn reach(name: &str) {
        fail::fail_point!(name, |argument| {
            let signal = match argument.as_deref() {
                Some("stop") => Signal::SIGSTOP,
                _ => Signal::SIGKILL,
            };
            // To this very thread, which stops before anything else. One that is sent to the process may find another thread first.
            if let Err(error) = raise(signal) {
                panic!("{name}: {signal} cannot be raised: {error}");
            }
        });
    }
}
