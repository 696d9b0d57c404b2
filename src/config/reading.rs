//! One reading of a configuration: what it may look at, and what it found wrong so far.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    environment::Environment,
    fault::{Fault, Place, Warning},
    secret::Secrets,
    tree::Origin,
};

/// Enough to see what is wrong with a list or a file of users without drowning the rest.
pub(super) const MAX_FAULTS_A_LIST: usize = 10;

pub(super) struct Reading<'a> {
    pub(super) file: &'a Path,
    pub(super) environment: &'a Environment,
    pub(super) secrets: Secrets,
    /// The text is what stands in the file, which need not be so before it is written.
    pub(super) is_on_disk: bool,
    text: &'a str,
    line_starts: Vec<usize>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Warning>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, environment: &'a Environment, secrets: Secrets) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(index, _)| index + 1))
            .collect();
        Self {
            file,
            environment,
            secrets,
            is_on_disk: false,
            text,
            line_starts,
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn fault(
        &mut self,
        origin: &Origin,
        key: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = self.place(origin);
        self.fault_at(place, key, message, remedy);
    }

    pub(super) fn fault_at(
        &mut self,
        place: Place,
        key: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.faults.push(Fault {
            place,
            key: key.into(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    pub(super) fn warn(
        &mut self,
        origin: &Origin,
        key: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(Warning(Fault {
            place: self.place(origin),
            key: key.into(),
            message: message.into(),
            remedy: remedy.into(),
        }));
    }

    /// Warns of a file that holds a secret, where others than its owner can read it.
    pub(super) fn warn_if_open(&mut self, path: &Path, origin: &Origin, key: &str, holds: &str) {
        // Container engines mount secrets there, readable for all of the one user that the container has.
        if path.starts_with("/run/secrets") {
            return;
        }
        let Ok(metadata) = fs::metadata(path) else { return };
        if metadata.permissions().mode() & 0o044 != 0 {
            self.warn(
                origin,
                key,
                format!("{}{holds} can be read by others", path.display()),
                format!("chmod 600 {}", path.display()),
            );
        }
    }

    pub(super) fn place(&self, origin: &Origin) -> Place {
        match origin {
            Origin::Byte(byte) => {
                let line = self.line_starts.partition_point(|start| start <= byte);
                let start = self.line_starts[line - 1];
                let column = self
                    .text
                    .get(start..*byte)
                    .map_or(1, |before| before.chars().count() + 1);
                Place::Line {
                    path: self.file.to_owned(),
                    line,
                    column,
                }
            }
            Origin::Variable(name) => Place::Variable(name.clone()),
            Origin::Nowhere => Place::File(self.file.to_owned()),
        }
    }

    /// The line of a value, for messages about another one.
    pub(super) fn line(&self, origin: &Origin) -> Option<usize> {
        match self.place(origin) {
            Place::Line { line, .. } => Some(line),
            Place::File(_) | Place::Variable(_) => None,
        }
    }

    /// Relative paths are relative to the configuration file, not to wherever the program was started.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file
            .parent()
            .map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
    }
}
