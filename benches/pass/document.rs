//! The place for the tables in a document.

use std::{fs, path::Path};

use anyhow::Context as _;

const BEGIN: &str = "<!-- table: cargo bench --bench pass -->";
const END: &str = "<!-- end -->";

/// Replaces what stands between the markers.
pub(crate) fn write(path: &Path, tables: &str) -> anyhow::Result<()> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {shown}"))?;
    let (before, rest) = text
        .split_once(BEGIN)
        .with_context(|| format!("{shown} has no {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{shown} has no {END}"))?;
    fs::write(path, format!("{before}{BEGIN}\n{tables}{END}{after}"))
        .with_context(|| format!("failed to write {shown}"))
}
