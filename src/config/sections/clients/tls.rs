//! `[tls]`: certificates, and how HTTP/2 is offered.

use crate::config::key::{choice, names, path};
use crate::config::section::section;
use std::path::PathBuf;

section! {
    /// Certificates, and how HTTP/2 is offered.
    pub struct TlsSettings checked by pair {
        /// Further host names and addresses for the certificate, as text.
        pub names: Vec<String> = names("tls.names")
            .doc("Further host names or addresses for the certificate; those of this machine are always in it."),
        /// One's own chain; set exactly if `key` is.
        pub cert: Option<PathBuf> = path("tls.cert")
            .doc("Your own certificate chain (PEM) in place of the one that Dryport makes; needs tls.key."),
        /// The key of `cert`.
        pub key: Option<PathBuf> = path("tls.key")
            .doc("The private key (PEM) of tls.cert."),
        /// A new CA is limited to names and addresses of this machine.
        pub ca_constrained: bool = choice("tls.ca_constraints", &["auto", "none"], "auto", |word| Ok(word != "none"))
            .doc("What a new CA of Dryport's may sign for. auto: private addresses, tls.names, and the names, their domain and the\npublic addresses that this machine has by then; clients refuse it for all else. none: everything."),
        /// How HTTP/2 is offered.
        pub http2: Http2Setting = choice("tls.http2", &["allow", "prefer", "off"], "allow", Http2Setting::of)
            .doc("HTTP/2: allow (clients that offer both get HTTP/1.1, which moves large layers faster), prefer, or off."),
    }
}

fn pair(tls: &TlsSettings) -> Result<(), String> {
    if tls.cert.is_some() != tls.key.is_some() {
        return Err("`tls.cert` and `tls.key` belong together: set both, or neither to use the certificate that Dryport makes".to_owned());
    }
    Ok(())
}

/// How HTTP/2 is offered; `app` turns it into the type of `tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2Setting {
    /// HTTP/2 where the client can.
    Prefer,
    /// HTTP/1.1 where the client can both.
    Allow,
    /// HTTP/1.1 only.
    Off,
}

impl Http2Setting {
    fn of(word: &str) -> Result<Self, String> {
        match word {
            "prefer" => Ok(Self::Prefer),
            "allow" => Ok(Self::Allow),
            "off" => Ok(Self::Off),
            _ => Err(format!("\"{word}\" says nothing of HTTP/2")),
        }
    }
}
