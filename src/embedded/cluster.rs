//! The database cluster on disk: its version, and how it comes to be.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
};

use super::{
    account::Account,
    error::Error,
    home::Home,
    installation::{Installation, Version},
    process::{Output, Program},
    server::last_lines,
};

/// The superuser, and the database that is created for the mirror.
pub(super) const NAME: &str = "calmirror";

/// An unfinished cluster has a name that starts so.
const UNFINISHED: &str = "data.new-";

/// The version of the cluster in `home`, if there is one.
pub(super) fn version(home: &Home) -> Result<Option<Version>, Error> {
    let path = home.data().join("PG_VERSION");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    match text.trim().split('.').next().map(str::parse) {
        Some(Ok(version)) => Ok(Some(Version(version))),
        _ => Err(Error::io("read", path)(io::ErrorKind::InvalidData.into())),
    }
}

/// Creates a cluster under another name first: one that was cut short is not to be taken for a whole one.
pub(super) async fn create(
    home: &Home,
    installation: &Installation,
    account: &Account,
    durable: bool,
) -> Result<(), Error> {
    remove_unfinished(home)?;
    // An initdb that outlived its killed parent may still write to the name that it was given.
    let unfinished = home
        .dir
        .join(format!("{UNFINISHED}{}-{:08x}", process::id(), fastrand::u32(..)));
    let output = initdb(&unfinished, home, installation, account, durable).await?;
    if !output.success {
        let text = format!("{}\n{}", output.stdout, output.stderr);
        return Err(Error::Initdb {
            data_dir: home.dir.clone(),
            output: last_lines(&text),
        });
    }
    let data = home.data();
    fs::rename(&unfinished, &data).map_err(Error::io("create", &data))?;
    if durable {
        File::open(&home.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(Error::io("write", &home.dir))?;
    }
    Ok(())
}

async fn initdb(
    dir: &Path,
    home: &Home,
    installation: &Installation,
    account: &Account,
    durable: bool,
) -> Result<Output, Error> {
    // Texts sort by code point everywhere, and letters are known as such where the system has the locale.
    let mut ctype = Some("C.UTF-8");
    loop {
        DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .and_then(|()| account.take_path(dir))
            .map_err(Error::io("create", dir))?;
        let program = Program::new(installation.program("initdb"))
            .arg("--pgdata")
            .arg(dir)
            .args(["--username", NAME, "--encoding", "UTF8", "--locale", "C"])
            .args(ctype.map(|ctype| format!("--lc-ctype={ctype}")))
            // The socket's directory is private, and there is no other way in.
            .args(["--auth-local", "trust", "--auth-host", "reject"])
            .args(["--no-instructions"])
            .args((!durable).then_some("--no-sync"))
            .run_as(account, &home.dir);
        let path = installation.program("initdb");
        let output = program.output().await.map_err(Error::io("run", path))?;
        if output.success {
            return Ok(output);
        }
        // Nothing of a failed try is worth keeping; initdb has emptied the directory already, or could not.
        remove(dir)?;
        if ctype.is_none() || !output.stderr.contains("invalid locale") {
            return Ok(output);
        }
        ctype = None;
    }
}

fn remove_unfinished(home: &Home) -> Result<(), Error> {
    let entries = home.dir.read_dir().map_err(Error::io("read", &home.dir))?;
    let unfinished: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(UNFINISHED))
        })
        .collect();
    for path in &unfinished {
        // An initdb that outlived its caller may still write there. The names differ, so this can wait for another start.
        if let Err(error) = remove(path) {
            tracing::debug!(error = %error, "a half-made cluster is left for now");
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", dir)(error)),
        _ => Ok(()),
    }
}
