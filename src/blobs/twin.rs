//! Uploads whose file is a content file, too: a closing was cut off between the two, and which of the names stays is for
//! the rows to say.

use super::BlobError;
use super::files::Files;
use super::place::{Place, UploadName};
use crate::types::{Algorithm, Hasher};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::Ordering;

/// Bytes read in one call.
const PIECE: usize = 256 * 1024;

impl Files {
    /// The place that is another name of an upload's file, if that file has another: it is looked for under the digests
    /// of its bytes.
    pub fn twin(&self, name: UploadName) -> Result<Option<Place>, BlobError> {
        let path = self.upload_path(name);
        let Some(mut file) = self.read_upload(name)? else {
            return Ok(None);
        };
        let meta = file.metadata().map_err(BlobError::io("look at", &path))?;
        if meta.nlink() < 2 {
            return Ok(None);
        }
        let mut hashers = Algorithm::ALL.map(Hasher::new);
        let mut buffer = vec![0; PIECE];
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(BlobError::io("read", &path)(e)),
            };
            let rehashed = &self.counts.bytes_rehashed;
            rehashed.fetch_add(n as u64, Ordering::Relaxed);
            for hasher in &mut hashers {
                hasher.update(buffer.get(..n).unwrap_or_default());
            }
        }
        for hasher in hashers {
            for place in self.places_of(&hasher.finish())? {
                let other = self.place_path(&place).symlink_metadata();
                if other.is_ok_and(|o| (o.dev(), o.ino()) == (meta.dev(), meta.ino())) {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }
}
