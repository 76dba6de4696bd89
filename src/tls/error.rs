//! What can be wrong with certificates, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Which kind of failure it was; the command line takes its exit code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsErrorKind {
    /// A certificate or key that people gave, or that lies in DIR/tls, cannot be used.
    Unusable,
    /// A name that people gave, for which the CA may not sign.
    Outside,
    /// Reading or writing failed.
    Io,
    /// A library refused what should always work.
    Internal,
}

/// Why there is no certificate. The text says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds what cannot be used; it was left as it is.
    #[error("{} {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// People named what lies outside the CA's name constraints.
    #[error(
        "tls.names holds {name}, for which the CA {} may not sign: clients would refuse the certificate. Take it out of tls.names, or make a new CA that may. {NEW_CA}",
        ca.display()
    )]
    Outside {
        /// As given, in small letters.
        name: String,
        /// The CA's certificate.
        ca: PathBuf,
    },
    /// Making a key or certificate failed.
    #[error("cannot make a key or certificate: {0}")]
    Make(String),
}

impl TlsError {
    /// The kind, for the exit code.
    pub fn kind(&self) -> TlsErrorKind {
        match self {
            Self::Read { .. } | Self::Write { .. } => TlsErrorKind::Io,
            Self::Broken { .. } => TlsErrorKind::Unusable,
            Self::Outside { .. } => TlsErrorKind::Outside,
            Self::Make(_) => TlsErrorKind::Internal,
        }
    }
}

/// How people come to a new CA.
pub(super) const NEW_CA: &str = "To make a new CA, move ca.pem and ca.key away and start again; every client must then trust the new one, as it was told to trust the old one";
