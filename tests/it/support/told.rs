//! What is logged while a test listens.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{Level, subscriber::DefaultGuard};

/// What a subscriber was told, as text.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<u8>>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut told = self.0.lock().expect("no test panics while it holds this");
        told.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Told {
    /// Everything up to this level that this thread logs, which is everything of a test's runtime.
    pub(crate) fn listen(level: Level) -> (Self, DefaultGuard) {
        let told = Self::default();
        let writer = told.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (told, guard)
    }

    pub(crate) fn text(&self) -> String {
        let told = self.0.lock().expect("no test panics while it holds this").clone();
        String::from_utf8(told).expect("logs are text")
    }

    /// The lines that hold this.
    pub(crate) fn lines(&self, text: &str) -> Vec<String> {
        let told = self.text();
        told.lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }
}
