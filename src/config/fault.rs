//! What is wrong with a configuration, and where.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Line and column count from 1, columns in characters.
    Line {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    /// A file as a whole.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl Place {
    /// The configuration file from top to bottom, then the files that it names, then the environment.
    fn rank<'a>(&'a self, config: &Path) -> (bool, bool, &'a Path, usize, usize, &'a str) {
        match self {
            Self::Line { path, line, column } => (false, path != config, path, *line, *column, ""),
            Self::File(path) => (false, path != config, path, 0, 0, ""),
            Self::Variable(name) => (true, true, Path::new(""), 0, 0, name),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong. No part of it holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    /// As in `calcom.base_url`; empty where no key is concerned.
    pub key: String,
    pub message: String,
    /// What to do about it; empty where the message says it.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Something that is allowed and that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub(super) Fault);

impl Warning {
    /// What there is to know, with the place and the key that it is of.
    pub fn fault(&self) -> &Fault {
        &self.0
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Every fault of a configuration: at least one, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn new(mut faults: Vec<Fault>, config: &Path) -> Self {
        faults.sort_by(|left, right| left.place.rank(config).cmp(&right.place.rank(config)));
        faults.dedup();
        Self(faults)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    /// One line a fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for Faults {}
