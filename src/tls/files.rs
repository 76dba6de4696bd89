//! Reading and atomic writing of the few files in DIR/tls, and turning PEM text into certificates and keys.

use super::TlsError;
use crate::datadir;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::path::Path;

/// Mode of private keys.
pub(super) const SECRET: u32 = 0o600;
/// Mode of certificates, which are no secret.
pub(super) const PUBLIC: u32 = 0o644;

/// Makes the folder, for its owner only, if it is not there.
pub(super) fn make_dir(dir: &Path) -> Result<(), TlsError> {
    datadir::make_folder(dir)
        .map(|_made| ())
        .map_err(|source| write_error(dir, source))
}

/// The text of a file of DIR/tls; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, TlsError> {
    match datadir::read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Puts the text in place whole or not at all, with the given mode whatever the umask.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    datadir::replace(path, text.as_bytes(), mode).map_err(|source| write_error(path, source))
}

fn write_error(path: &Path, source: io::Error) -> TlsError {
    TlsError::Write {
        path: path.to_owned(),
        source,
    }
}

/// An error about the content of a file.
pub(super) fn broken(path: &Path, why: impl Into<String>) -> TlsError {
    TlsError::Broken {
        path: path.to_owned(),
        why: why.into(),
    }
}

/// All certificates of a PEM text, at least one.
pub(super) fn chain(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|e| broken(path, format!("is no readable PEM ({e})")))?;
    if chain.is_empty() {
        return Err(broken(path, "holds no certificate (BEGIN CERTIFICATE)"));
    }
    Ok(chain)
}

/// The first private key of a PEM text.
pub(super) fn key(path: &Path, pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| {
        let why = if pem.contains("ENCRYPTED") {
            "holds an encrypted key; write it without a passphrase (openssl pkey)".to_owned()
        } else {
            format!("holds no readable private key ({e})")
        };
        broken(path, why)
    })
}
