//! What can be wrong with certificates, and what to do about it.

use crate::types::Remedy;
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
    /// The CA's key is not there, and a certificate is to be signed.
    #[error(
        "{} is not there, and a new server certificate must be signed with it; put it back, or serve with a certificate of your own",
        .0.display()
    )]
    NoCaKey(PathBuf),
    /// People named what lies outside the CA's name constraints.
    #[error(
        "the certificate is to name {name}, for which the CA {} may not sign: clients would refuse the certificate. Take the name out, or make a new CA that may. {NEW_CA}",
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
            Self::Broken { .. } | Self::NoCaKey(_) => TlsErrorKind::Unusable,
            Self::Outside { .. } => TlsErrorKind::Outside,
            Self::Make(_) => TlsErrorKind::Internal,
        }
    }

    /// What can be done about it, where a setting does it.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::NoCaKey(_) => Some(Remedy::OwnCertificate),
            Self::Outside { .. } => Some(Remedy::ChangeCertificateNames),
            _ => None,
        }
    }
}

/// How people come to a new CA.
pub(super) const NEW_CA: &str = "To make a new CA, move ca.pem and ca.key away and start again; every client must then trust the new one, as it was told to trust the old one";
