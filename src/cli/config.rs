//! `calmirror config`: the configuration as it is in force.

use super::{Out, Output};
use crate::{config::Config, model::escape_hidden_but_breaks};

/// Prints every key with its value in force: as TOML for people, or as one line of JSON.
///
/// # Errors
///
/// When standard output is closed.
pub fn run(config: &Config, out: &mut Out) -> anyhow::Result<()> {
    match out.format {
        Output::Json => out.json(&config.effective_json()),
        // To be pasted, so lines are not broken. TOML's strings have the same escapes as JSON's.
        Output::Text => {
            let text = config.effective_toml();
            out.whole(escape_hidden_but_breaks(&text).as_bytes())
        }
    }
}
