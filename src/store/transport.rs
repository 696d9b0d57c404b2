//! How what is sent to the database can be seen on its way.

use std::net::IpAddr;

use sqlx::postgres::PgSslMode;

use super::Store;

/// What the connection's settings promise, whatever the server happens to offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A socket or this very host: no network in between.
    Local,
    /// Encrypted, with a server whose certificate is verified.
    Verified,
    /// Encrypted, with whoever answers at the address.
    Unverified { host: String },
    /// Not encrypted, or only if the server likes.
    Clear { host: String },
}

impl Store {
    /// How the settings of `database.url` protect what is sent. Asks nobody.
    pub fn transport(&self) -> Transport {
        let options = self.pool.connect_options();
        let host = options.get_host();
        if options.get_socket().is_some() || is_local(host) {
            return Transport::Local;
        }
        let host = host.to_owned();
        match options.get_ssl_mode() {
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => Transport::Clear { host },
            PgSslMode::Require => Transport::Unverified { host },
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => Transport::Verified,
        }
    }
}

fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::store::Settings;

    #[tokio::test]
    async fn only_a_verified_or_a_local_server_is_nobody_else() {
        let settings = Settings {
            schema: "public".to_owned(),
            max_connections: 1,
            pgbouncer: false,
        };
        let of = |url: &str| {
            let store = Store::open_url(&SecretString::from(url), &settings).expect("an address");
            match store.transport() {
                Transport::Local => "local",
                Transport::Verified => "verified",
                Transport::Unverified { host } | Transport::Clear { host } if host != "db.example" => {
                    "strange"
                }
                Transport::Unverified { .. } => "unverified",
                Transport::Clear { .. } => "clear",
            }
        };
        for (url, expected) in [
            ("postgres:///db?host=/run/postgresql", "local"),
            ("postgres://u@%2Frun%2Fpostgresql/db", "local"),
            ("postgres://u@localhost/db?sslmode=disable", "local"),
            ("postgres://u@127.0.0.3:5433/db?sslmode=disable", "local"),
            ("postgres://u@[::1]/db?sslmode=disable", "local"),
            ("postgres://u@db.example/db", "clear"),
            ("postgres://u@db.example/db?sslmode=disable", "clear"),
            ("postgres://u@db.example/db?sslmode=prefer", "clear"),
            ("postgres://u@db.example/db?sslmode=require", "unverified"),
            ("postgres://u@db.example/db?sslmode=verify-ca", "verified"),
            ("postgres://u@db.example/db?sslmode=verify-full", "verified"),
        ] {
            assert_eq!(of(url), expected, "{url}");
        }
    }
}
