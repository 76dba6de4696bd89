//! What can go wrong when asking another server, and what can be done about it.

use crate::types::Remedy;

/// A failure; the text says what happened and what it means, [`FetchError::remedy`] what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// The options cannot be used (bad certificate file, bad host name).
    #[error("{0}")]
    Options(String),
    /// No connection, or it broke before an answer.
    #[error("{url} cannot be reached: {why}")]
    Connect {
        /// URL without its query.
        url: String,
        /// The chain of causes.
        why: String,
        /// Nothing said no: no connection came up in the time that one may take.
        is_silent: bool,
    },
    /// It did not answer lately, so it is left alone for a while.
    #[error("{host} did not answer lately; it is asked again in {} s", retry_after.as_secs().max(1))]
    Away {
        /// Host and port.
        host: String,
        /// How long it is left alone yet.
        retry_after: std::time::Duration,
    },
    /// Something answers that does not speak TLS.
    #[error("{host} does not speak TLS: {why}")]
    NoTls {
        /// Host and port.
        host: String,
        /// What the handshake said.
        why: String,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {host} is not trusted: {why}")]
    Certificate {
        /// Host and port.
        host: String,
        /// What the check said.
        why: String,
    },
    /// The server refused the credentials, or wants some.
    #[error("{host} refuses {}: {why}{}", who(*known), meaning(*known, host))]
    Unauthorized {
        /// Host and port.
        host: String,
        /// Whether credentials were sent.
        known: bool,
        /// What the server said.
        why: String,
    },
    /// The token service is at a host that may not get the credentials.
    #[error(
        "{registry} sends its users to log in at {realm}, another domain: it gets these credentials only if you trust it with them"
    )]
    RealmHost {
        /// The registry's host.
        registry: String,
        /// The token service's host.
        realm: String,
    },
    /// The token service's address is unusable.
    #[error("{registry} names a token service that is not used: {why}")]
    Realm {
        /// The registry's host.
        registry: String,
        /// What is wrong.
        why: String,
    },
    /// A redirect that is not followed.
    #[error("{url} redirects to a place that is not followed: {why}")]
    Redirect {
        /// URL without its query.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A server led to an address where only the operator may send us.
    #[error(
        "{by} leads to {host}, which is not asked: {address} is {what}, and only a host that you name may be there"
    )]
    Inward {
        /// The registry's host, or the URL that redirected, without its query.
        by: String,
        /// Host and port.
        host: String,
        /// The address that the host has.
        address: std::net::IpAddr,
        /// What that is.
        what: &'static str,
    },
    /// An answer that is neither success nor something the caller expects.
    #[error("{url} answered {status}{detail}")]
    Status {
        /// URL without its query.
        url: String,
        /// HTTP status.
        status: u16,
        /// `: text` of the answer's first error, or nothing.
        detail: String,
    },
    /// The server asks to wait longer than a command may.
    #[error(
        "{url} asks to come back in {seconds} s{detail}; run the command again then, it goes on where it stopped"
    )]
    Wait {
        /// URL without its query.
        url: String,
        /// Seconds.
        seconds: u64,
        /// ` (STATUS: text of the answer's first error)`.
        detail: String,
    },
    /// A body longer than it may be.
    #[error("{url} sent more than the {limit} bytes expected")]
    TooLarge {
        /// URL without its query.
        url: String,
        /// Bytes.
        limit: u64,
    },
    /// A body that makes no sense, or that broke too often.
    #[error("{url}: {why}")]
    Body {
        /// URL without its query.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A body that says that it is coded in a way that it is not.
    #[error("{url} says that its answer is coded as gzip, and it is not: {why}")]
    Coding {
        /// URL without its query.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A body in a coding that was not asked for and is not understood.
    #[error(
        "{url} answers coded as {coding} (Content-Encoding), which was not asked for and is not understood here: a proxy on the way does that. Have it pass answers on as they are, or reach the registry without it"
    )]
    Coded {
        /// URL without its query.
        url: String,
        /// The coding.
        coding: String,
    },
    /// The credentials file or helper cannot be used.
    #[error("{0}")]
    Credentials(String),
}

/// Kinds of [`FetchError`], for exit codes and decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// What was asked for cannot be done as asked.
    Usage,
    /// The other side cannot be reached now.
    Unreachable,
    /// It refuses.
    Refused,
    /// It answered something unusable.
    Upstream,
}

impl FetchError {
    /// What happened, without advice: for what is left out and named in a report.
    pub fn reason(&self) -> String {
        match self {
            Self::Unauthorized { host, known, why } => {
                format!("{host} refuses {}: {why}", who(*known))
            }
            Self::Coded { url, coding } => {
                format!("{url} answers coded as {coding}, which was not asked for")
            }
            Self::RealmHost { registry, realm } => {
                format!("{registry} sends its users to log in at {realm}, another domain")
            }
            Self::Inward {
                by,
                host,
                address,
                what,
            } => format!("{by} leads to {host}, which is not asked: {address} is {what}"),
            Self::Wait {
                url,
                seconds,
                detail,
            } => format!("{url} asks to come back in {seconds} s{detail}"),
            other => other.to_string(),
        }
    }

    /// What can be done about it, where a switch or a login does it.
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Self::Certificate { host, .. } => Remedy::TrustCertificate(host.clone()),
            Self::NoTls { host, .. } => Remedy::PlainHttp(host.clone()),
            Self::Unauthorized {
                host, known: true, ..
            } => Remedy::CorrectLogin(host.clone()),
            Self::Unauthorized { host, .. } => Remedy::LogIn(host.clone()),
            Self::RealmHost { realm, .. } => Remedy::TrustRealm(realm.clone()),
            Self::Inward { host, .. } => Remedy::AllowHost(host.clone()),
            _ => return None,
        })
    }

    /// The kind.
    pub fn kind(&self) -> FetchErrorKind {
        match self {
            Self::Options(_) | Self::Credentials(_) => FetchErrorKind::Usage,
            Self::Connect { .. }
            | Self::NoTls { .. }
            | Self::Away { .. }
            | Self::Certificate { .. }
            | Self::Wait { .. } => FetchErrorKind::Unreachable,
            Self::Unauthorized { .. }
            | Self::RealmHost { .. }
            | Self::Realm { .. }
            | Self::Inward { .. }
            | Self::Redirect { .. } => FetchErrorKind::Refused,
            Self::Status { .. }
            | Self::TooLarge { .. }
            | Self::Body { .. }
            | Self::Coding { .. }
            | Self::Coded { .. } => FetchErrorKind::Upstream,
        }
    }
}

/// Whom a refusal is about.
fn who(known: bool) -> &'static str {
    if known {
        "the credentials that it was sent"
    } else {
        "an anonymous request"
    }
}

/// What a refusal means, where its words leave that open.
fn meaning(known: bool, host: &str) -> String {
    if known {
        format!(
            ". The user, password or token that is kept for {host} is wrong or has expired, or that user may not do this; who runs {host} knows which"
        )
    } else {
        String::new()
    }
}
