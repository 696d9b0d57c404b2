//! What an operator should change although passes work: rights that are not needed, and secrets that others can read.

use super::Finding;
use crate::{
    cli::mirror::Database,
    config::{Retention, Warning},
    store::{Error, Excess, Store, Transport},
};

const DATABASE: &str = "database";

/// What reading the configuration has shown.
pub(super) fn of_config(warning: &Warning) -> Finding {
    let fault = warning.fault();
    let message = match fault.key.as_str() {
        "" => format!("{}: {}", fault.place, fault.message),
        key => format!("{}: {key}: {}", fault.place, fault.message),
    };
    let remedy = Some(fault.remedy.clone()).filter(|remedy| !remedy.is_empty());
    Finding::warning("config", message, remedy)
}

/// Of the connection and of its user. An embedded server is behind a socket of our own, and its superuser is who we are.
/// Where the ledger is folded, that takes rights on it.
pub(super) async fn warnings(database: &Database, retention: &Retention, answers: bool) -> Vec<Finding> {
    if database.is_embedded() {
        return Vec::new();
    }
    let mut found: Vec<Finding> = transport(&database.store.transport()).into_iter().collect();
    // Whatever keeps this from being asked was reported where the tables were looked at.
    if answers && let Ok(mut rights) = database.store.rights().await {
        if retention.ledger_days > 0 {
            rights.excess.retain(|excess| *excess != Excess::ChangeLedger);
        }
        found.extend(excess(&rights.user, &rights.excess));
    }
    found
}

/// That migrations which are due can be made by the next pass.
pub(super) async fn to_migrate(store: &Store, pending: &Result<usize, Error>) -> Result<(), Error> {
    let pending = match pending {
        Ok(0) => return Ok(()),
        Ok(pending) => *pending,
        Err(Error::NotMigrated { .. }) => Store::migrations(),
        // Is reported as it is.
        Err(_) => return Ok(()),
    };
    let rights = store.rights().await?;
    if rights.may_migrate {
        return Ok(());
    }
    Err(Error::MayNotMigrate {
        schema: store.schema().to_owned(),
        pending,
        said: format!("{} is not the owner", rights.user),
    })
}

fn transport(transport: &Transport) -> Option<Finding> {
    let (message, remedy) = match transport {
        Transport::Local | Transport::Verified => return None,
        Transport::Clear { host } => (
            format!("what is sent to {host} may go in the clear, the password and users' data as well"),
            "add sslmode=verify-full to database.url, and sslrootcert=FILE for a certificate authority of your own",
        ),
        Transport::Unverified { host } => (
            format!("whoever answers for {host} is believed to be it: its certificate is not verified"),
            "write sslmode=verify-full in database.url, and sslrootcert=FILE for a certificate authority of your own",
        ),
    };
    Some(Finding::warning(DATABASE, message, Some(remedy.to_owned())))
}

fn excess(user: &str, excess: &[Excess]) -> Option<Finding> {
    if excess.is_empty() {
        return None;
    }
    let rights: Vec<String> = excess.iter().map(ToString::to_string).collect();
    let message = format!(
        "user {user} has rights that no pass needs: it {}",
        rights.join(", ")
    );
    let remedy = "let passes be made by the daemon's role that `calmirror grants` prints";
    Some(Finding::warning(DATABASE, message, Some(remedy.to_owned())))
}
