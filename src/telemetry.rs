//! Log lines: to stderr, for people or for programs, never torn by a progress bar.

use std::{
    cell::Cell,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{LazyLock, OnceLock},
};

use indicatif::MultiProgress;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, fmt, fmt::MakeWriter, layer::SubscriberExt, registry::Registry,
    reload, util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.level cannot be read")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    #[error("the level of the log cannot be changed")]
    Reload(#[from] reload::Error),
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the process, and logs panics as well, so that they keep to the format.
///
/// `colour` is for a terminal whose user did not set `NO_COLOR`; JSON has none.
///
/// # Errors
/// When the level cannot be read, or on a second call.
pub fn init(log: &Log, colour: bool) -> Result<(), TelemetryError> {
    let (subscriber, level) = subscriber(log, colour, || AboveProgress)?;
    subscriber.try_init()?;
    // Logging is set up once only, as was found out just now.
    LEVEL.get_or_init(|| level);
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

type Level = reload::Handle<EnvFilter, Registry>;

/// What the process logs at present.
static LEVEL: OnceLock<Level> = OnceLock::new();

/// Logs at another level from now on. Does nothing before [`init`].
///
/// # Errors
/// When the level cannot be read.
pub fn set_level(level: &str) -> Result<(), TelemetryError> {
    let filter = filter(level)?;
    match LEVEL.get() {
        Some(handle) => Ok(handle.reload(filter)?),
        None => Ok(()),
    }
}

/// Where every progress bar of the process belongs, so that log lines go above it.
///
/// What else is printed while a bar may be up goes through [`above_progress`].
pub fn progress() -> &'static MultiProgress {
    static PROGRESS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
    &PROGRESS
}

/// Takes the progress bars away while something is printed.
///
/// Logging from within is fine, and so is a panic, such as `println!` into a closed pipe: the bars' lock is neither taken
/// twice nor poisoned.
pub fn above_progress<T>(print: impl FnOnce() -> T) -> T {
    thread_local! { static ABOVE: Cell<bool> = const { Cell::new(false) } }
    if ABOVE.replace(true) {
        return print();
    }
    let printed = progress().suspend(|| catch_unwind(AssertUnwindSafe(print)));
    ABOVE.set(false);
    printed.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Whether `level` can be given to [`init`].
///
/// # Errors
/// When a directive of it cannot be read.
pub fn check_level(level: &str) -> Result<(), TelemetryError> {
    Ok(filter(level).map(drop)?)
}

fn subscriber<W>(
    log: &Log,
    colour: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Level), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(colour);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines
            .with_ansi(false)
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    let (filter, level) = reload::Layer::new(filter(&log.level)?);
    Ok((
        tracing_subscriber::registry().with(lines.with_filter(filter)),
        level,
    ))
}

/// A bare level is ours; of the libraries we hear warnings. Any other directive is taken as it is.
fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let directives: Vec<String> = level
        .split(',')
        .map(|directive| match directive.trim().parse::<LevelFilter>() {
            Ok(bare) => format!("{},calmirror={bare}", bare.min(LevelFilter::WARN)),
            Err(_) => directive.trim().to_owned(),
        })
        .collect();
    EnvFilter::builder().parse(directives.join(","))
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(ToString::to_string);
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace =
        (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        panic.message = message,
        panic.location = location,
        panic.backtrace = backtrace,
        "panic"
    );
}

/// Stderr, with the bars taken away while a line is written.
struct AboveProgress;

impl Write for AboveProgress {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        above_progress(|| io::stderr().write(line))
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        above_progress(|| io::stderr().write_all(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::subscriber::with_default;

    use super::*;
    use crate::config::LogValues;

    fn logged(format: LogFormat, level: &str, write: impl FnOnce()) -> String {
        let log = Log {
            format,
            values: LogValues::Masked,
            level: level.to_owned(),
        };
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let (subscriber, _) = subscriber(&log, false, Sink(Arc::clone(&buffer))).expect("a level");
        with_default(subscriber, write);
        let lines = buffer.lock().expect("no panic").clone();
        String::from_utf8(lines).expect("text")
    }

    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Sink {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn json_has_each_field_under_its_dotted_name() {
        let line = logged(LogFormat::Json, "info", || {
            tracing::info!(client.name = "acme", user.id = 7, change.kind = %"update", "user changed");
        });
        let mut line: Value = serde_json::from_str(&line).expect("one line of JSON");
        let timestamp = line["timestamp"].take();
        let timestamp = timestamp
            .as_str()
            .expect("a text")
            .parse::<chrono::DateTime<chrono::Utc>>();
        assert!(timestamp.is_ok());
        let expected = json!({
            "timestamp": null, "level": "INFO", "message": "user changed", "target": "calmirror::telemetry::tests",
            "client.name": "acme", "user.id": 7, "change.kind": "update",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn text_is_a_message_and_its_fields_without_colour() {
        let line = logged(LogFormat::Text, "info", || {
            tracing::info!(user.id = 7, "user changed")
        });
        assert!(line.ends_with(" INFO user changed user.id=7\n"), "{line:?}");
    }

    #[test]
    fn a_bare_level_is_ours_and_libraries_are_heard_from_warn() {
        let everything = || {
            tracing::debug!("ours");
            tracing::info!(target: "sqlx::query", "chatter");
            tracing::warn!(target: "hyper", "trouble");
            tracing::error!("failure");
        };
        let heard = |level| {
            let lines = logged(LogFormat::Text, level, everything);
            let last = |line: &str| line.rsplit(' ').next().unwrap_or_default().to_owned();
            lines.lines().map(last).collect::<Vec<_>>()
        };
        assert_eq!(heard("debug"), ["ours", "trouble", "failure"]);
        assert_eq!(heard("INFO"), ["trouble", "failure"]);
        assert_eq!(heard("error"), ["failure"]);
        assert_eq!(heard("off"), [""; 0]);
        assert_eq!(heard("info, sqlx=debug"), ["chatter", "trouble", "failure"]);
        assert_eq!(heard("calmirror=debug"), ["ours", "failure"]);
    }

    #[test]
    fn a_level_that_cannot_be_read_is_refused() {
        assert!(check_level("calmirror=loud").is_err());
        assert!(check_level("info,sqlx=debug").is_ok());
    }

    #[test]
    fn printing_may_log_and_may_panic() {
        assert_eq!(above_progress(|| above_progress(|| 1)), 1);
        assert!(catch_unwind(|| above_progress(|| panic!("closed pipe"))).is_err());
        assert_eq!(above_progress(|| 2), 2);
    }
}
