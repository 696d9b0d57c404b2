//! `calmirror config`: the configuration as it is in force.

use std::io::{self, Write};

use crate::config::Config;

/// Prints every key with its value in force: as TOML for people, or as one line of JSON.
///
/// # Errors
///
/// When `out` is closed.
pub fn run(config: &Config, json: bool, out: &mut impl Write) -> io::Result<()> {
    if json {
        writeln!(out, "{}", config.effective_json())
    } else {
        write!(out, "{}", config.effective_toml())
    }
}
