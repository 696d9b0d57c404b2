//! The Postgres programs of this machine.

use std::{
    ffi::OsString,
    fmt,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{error::Error, process::Program};
use crate::config::environment;

/// A major version of Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The oldest version that the mirror's statements are written for.
pub const MIN_VERSION: Version = Version(15);

/// A directory with `initdb` and `postgres` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) bin_dir: PathBuf,
    pub(super) version: Version,
}

/// Where installations are looked for, in order of preference.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    /// Named by the operator: nothing else is looked at.
    bin_dir: Option<PathBuf>,
    path: Vec<PathBuf>,
    /// Directories whose children are one installation each, as prefix and suffix around the version.
    families: Vec<(&'static str, &'static str, &'static str)>,
}

/// Debian and Ubuntu; PGDG on Fedora and Red Hat; Homebrew on Apple silicon and on Intel.
const FAMILIES: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
];

impl Search {
    pub(super) fn of_this_machine() -> Self {
        Self {
            bin_dir: environment::postgres_bin_dir(),
            path: environment::search_path(),
            families: FAMILIES.to_vec(),
        }
    }

    /// The installation to use for a cluster of version `data`, or for a new cluster.
    pub(super) async fn choose(&self, data: Option<Version>, data_dir: &Path) -> Result<Installation, Error> {
        let found = self.installations().await?;
        let Some(data) = data else {
            return found
                .into_iter()
                .next()
                .ok_or(Error::NotInstalled { rejected: Vec::new() });
        };
        if let Some(same) = found.iter().find(|installation| installation.version == data) {
            return Ok(same.clone());
        }
        let mut installed: Vec<Version> = found.iter().map(|installation| installation.version).collect();
        installed.dedup();
        let installed: Vec<String> = installed.iter().map(Version::to_string).collect();
        Err(Error::OtherVersion {
            data_dir: data_dir.to_owned(),
            data,
            installed: installed.join(", "),
        })
    }

    /// At least one, the preferred one first.
    async fn installations(&self) -> Result<Vec<Installation>, Error> {
        if let Some(dir) = &self.bin_dir {
            return match inspect(dir).await {
                Ok(installation) => Ok(vec![installation]),
                Err(why) => Err(Error::BadBinDir {
                    dir: dir.clone(),
                    why,
                }),
            };
        }
        let mut dirs = Vec::new();
        for dir in &self.path {
            if is_program(&dir.join("pg_config")) {
                dirs.push(dir.clone());
                dirs.extend(configured_bin_dir(&dir.join("pg_config")).await);
            } else if is_program(&dir.join("initdb")) {
                dirs.push(dir.clone());
            }
        }
        // Where PATH has both, the server's own directory comes before what pg_config says.
        dirs.sort_by_key(|dir| !self.path.contains(dir));
        for (root, prefix, suffix) in &self.families {
            dirs.extend(family(Path::new(root), prefix, suffix));
        }
        let mut found: Vec<Installation> = Vec::new();
        let mut rejected = Vec::new();
        for dir in dirs {
            if found.iter().any(|installation| installation.bin_dir == dir)
                || !is_program(&dir.join("initdb"))
            {
                continue;
            }
            match inspect(&dir).await {
                Ok(installation) => found.push(installation),
                Err(why) => rejected.push(format!("{}: {why}", dir.display())),
            }
        }
        if found.is_empty() {
            return Err(Error::NotInstalled { rejected });
        }
        Ok(found)
    }
}

impl Installation {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// How a person starts `psql`: by its name where PATH has it.
    pub(super) fn psql(&self) -> String {
        let on_path = environment::search_path()
            .iter()
            .any(|dir| is_program(&dir.join("psql")));
        let own = self.program("psql");
        if !on_path && is_program(&own) {
            own.display().to_string()
        } else {
            "psql".to_owned()
        }
    }
}

/// `Err` says in a few words why the directory cannot serve.
async fn inspect(dir: &Path) -> Result<Installation, String> {
    for program in ["initdb", "postgres"] {
        if !is_program(&dir.join(program)) {
            return Err(format!("there is no `{program}` in it"));
        }
    }
    let output = Program::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .await
        .map_err(|error| format!("`postgres --version` failed: {error}"))?;
    match major_version(&output.stdout) {
        Some(version) if version >= MIN_VERSION => Ok(Installation {
            bin_dir: dir.to_owned(),
            version,
        }),
        Some(version) => Err(format!(
            "it is Postgres {version}, and {MIN_VERSION} is the oldest that works"
        )),
        None => Err("`postgres --version` gave no version".to_owned()),
    }
}

/// From the likes of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` and `postgres (PostgreSQL) 18beta1`.
fn major_version(output: &str) -> Option<Version> {
    let (_, after) = output.split_once("(PostgreSQL)")?;
    let digits: String = after
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok().map(Version)
}

async fn configured_bin_dir(pg_config: &Path) -> Option<PathBuf> {
    let output = Program::new(pg_config.to_owned())
        .arg("--bindir")
        .output()
        .await
        .ok()?;
    let dir = PathBuf::from(output.stdout.trim());
    (output.success && dir.is_absolute()).then_some(dir)
}

/// The members of a family of directories that are named by their version, the highest first.
fn family(root: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    // A family that is not there, or not for us to read, has no members.
    let Ok(entries) = root.read_dir() else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
    let mut members: Vec<(u32, OsString)> = names
        .filter_map(|name| Some((name.to_str()?.strip_prefix(prefix)?.parse().ok()?, name)))
        .collect();
    members.sort_by(|(left, _), (right, _)| right.cmp(left));
    members
        .into_iter()
        .map(|(_, name)| root.join(name).join(suffix))
        .collect()
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_prints() {
        for (output, version) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", 15),
            ("postgres (PostgreSQL) 18beta1", 18),
            ("postgres (PostgreSQL) 9.6.24", 9),
        ] {
            assert_eq!(major_version(output), Some(Version(version)), "{output}");
        }
        assert_eq!(major_version("bash: postgres: command not found"), None);
    }

    #[tokio::test]
    async fn without_an_installation_one_line_says_what_to_install() {
        let error = Search::default()
            .choose(None, Path::new("/data"))
            .await
            .expect_err("there is nothing to find");
        let text = error.to_string();
        assert!(!text.contains('\n'), "{text}");
        for hint in [
            "apt-get install postgresql",
            "dnf install",
            "brew install",
            "PG_BIN_DIR",
        ] {
            assert!(text.contains(hint), "{hint} is missing in: {text}");
        }
    }

    #[tokio::test]
    async fn data_of_another_version_is_refused_with_both_versions() {
        let search = Search::of_this_machine();
        let error = search
            .choose(Some(Version(9)), Path::new("/data"))
            .await
            .expect_err("Postgres 9 is too old to be used");
        let installed = search
            .choose(None, Path::new("/data"))
            .await
            .expect("Postgres is installed");
        let text = error.to_string();
        assert!(text.contains("of Postgres 9,"), "{text}");
        assert!(
            text.contains(&format!("Postgres is {}", installed.version)),
            "{text}"
        );
    }

    #[test]
    fn the_highest_version_of_a_family_comes_first() {
        let root = tempfile::tempdir().expect("a directory for the test");
        for name in ["9", "15", "16", "common"] {
            std::fs::create_dir(root.path().join(name)).expect("an empty directory takes it");
        }
        let names: Vec<_> = family(root.path(), "", "bin");
        assert_eq!(
            names,
            ["16", "15", "9"].map(|name| root.path().join(name).join("bin"))
        );
    }
}
