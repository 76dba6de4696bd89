//! One's own certificate and key: the files that the operator names, which may be links, and may be root's alone.

use super::TlsError;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// The texts of a certificate chain and its key. They are read early by a process that root starts and that then becomes
/// the user of the data directory, who may not be allowed to read them. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnPem {
    pub(super) chain: String,
    pub(super) key: String,
}

impl fmt::Debug for OwnPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnPem(hidden)")
    }
}

impl OwnPem {
    /// Reads both files.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let text = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| TlsError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            chain: text(cert)?,
            key: text(key)?,
        })
    }
}

/// What the files hold now; where this process may not read them, what they held when it could, and a word about that.
pub(super) fn current(
    cert: &Path,
    key: &Path,
    given: Option<&OwnPem>,
) -> Result<(OwnPem, Vec<String>), TlsError> {
    match (OwnPem::read(cert, key), given) {
        (Err(TlsError::Read { path, source }), Some(given))
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            let warning = format!(
                "{} was read by root at the start, and this process can read it no more: a new one counts after a restart",
                path.display()
            );
            Ok((given.clone(), vec![warning]))
        }
        (read, _) => Ok((read?, Vec::new())),
    }
}
