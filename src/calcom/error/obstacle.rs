//! What stands between a request and its answer.

use std::{error::Error as _, fmt, io};

use rustls::CertificateError;

/// What kept a request from its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    TimeOut,
    Name,
    /// The server's certificate does not prove who it is.
    Certificate(Flaw),
    /// No secure connection for another reason, such as a server that speaks something else.
    Tls,
    Connection,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    Host,
    Issuer,
    Time,
    Other,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimeOut => "no whole answer came in time",
            Self::Name => "the host's name cannot be resolved",
            Self::Certificate(Flaw::Host) => "the server's certificate is for another host",
            Self::Certificate(Flaw::Issuer) => {
                "the server's certificate is from an issuer that is not trusted here"
            }
            Self::Certificate(Flaw::Time) => "the server's certificate has run out, or is not valid yet",
            Self::Certificate(Flaw::Other) => "the server's certificate is not valid",
            Self::Tls => "no secure connection can be made",
            Self::Connection => "the connection fails",
        })
    }
}

impl Obstacle {
    pub(super) fn of(error: &reqwest::Error) -> Self {
        // A server that accepts no connection is away, whatever it is asked.
        if error.is_timeout() && !error.is_connect() {
            return Self::TimeOut;
        }
        let mut obstacle = Self::Connection;
        let mut cause = error.source();
        while let Some(error) = cause {
            match error.downcast_ref::<rustls::Error>() {
                Some(rustls::Error::InvalidCertificate(error)) => {
                    return Self::Certificate(Flaw::of(error));
                }
                Some(_) => return Self::Tls,
                None => {}
            }
            // The resolver's error has no public type.
            if error.to_string() == "dns error" {
                obstacle = Self::Name;
            }
            // An I/O error names as its source that of the error in it, and so passes over that one.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            cause = match inner {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        obstacle
    }

    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Name => "check the host in `calcom.base_url`, and this host's DNS",
            Self::Certificate(Flaw::Host) => {
                "check that `calcom.base_url` names the host that the certificate is for"
            }
            Self::Certificate(Flaw::Issuer) => {
                "check `calcom.base_url`, and install the issuer's certificate among this host's (ca-certificates) if \
                 the server is your own"
            }
            Self::Certificate(Flaw::Time) => {
                "check this host's clock; if it is right, the server needs a new certificate"
            }
            Self::Certificate(Flaw::Other) => {
                "check `calcom.base_url`; if it is right, the server needs another certificate"
            }
            Self::Tls => "check that `calcom.base_url` has the port on which the server speaks https",
            Self::TimeOut => {
                "if this goes on, check that this host reaches `calcom.base_url`, or raise `calcom.timeout_s`"
            }
            Self::Connection => {
                "if this goes on, check `calcom.base_url`, and that this host may connect to it (HTTPS_PROXY is not used)"
            }
        }
    }
}

impl Flaw {
    fn of(error: &CertificateError) -> Self {
        match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Host,
            CertificateError::UnknownIssuer => Self::Issuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Time,
            _ => Self::Other,
        }
    }
}
