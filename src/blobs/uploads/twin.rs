//! Uploads whose file is a content file, too: a closing was cut off between the two, and which of the names stays is for
//! the rows to say. The other name is looked for under the digests of the bytes, which are hashed in steps that the caller
//! bounds.

use crate::blobs::BlobError;
use crate::blobs::files::Files;
use crate::blobs::place::{Place, UploadName};
use crate::types::{Algorithm, Hasher};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes read in one call.
const PIECE: usize = 256 * 1024;

/// A look for the place that is another name of an upload's file. Dropping it changes nothing.
pub struct TwinSearch {
    files: Arc<Files>,
    name: UploadName,
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    hashers: [Hasher; Algorithm::ALL.len()],
}

/// What a step of [`TwinSearch`] came to.
pub enum TwinStep {
    /// All is hashed: the place, if there is one.
    Found(Option<Place>),
    /// There is more to hash.
    Part(Box<TwinSearch>),
}

impl TwinSearch {
    /// `None` if the file has no other name, or there is no file.
    pub(in crate::blobs) fn open(
        files: Arc<Files>,
        name: UploadName,
    ) -> Result<Option<Self>, BlobError> {
        let path = files.upload_path(name);
        let Some(file) = files.read_upload(name)? else {
            return Ok(None);
        };
        let meta = file.metadata().map_err(BlobError::io("look at", &path))?;
        if meta.nlink() < 2 {
            return Ok(None);
        }
        Ok(Some(Self {
            files,
            name,
            file,
            identity: (meta.dev(), meta.ino()),
            hashers: Algorithm::ALL.map(Hasher::new),
        }))
    }

    /// Hashes about so many bytes more. Blocks for as long as reading them takes.
    pub fn step(mut self, most: u64) -> Result<TwinStep, BlobError> {
        let mut buffer = vec![0; PIECE];
        let mut left = most;
        while left > 0 {
            let n = match self.file.read(&mut buffer) {
                Ok(0) => return self.found().map(TwinStep::Found),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => {
                    let path = self.files.upload_path(self.name);
                    return Err(BlobError::io("read", &path)(e));
                }
            };
            let rehashed = &self.files.counts.bytes_rehashed;
            rehashed.fetch_add(n as u64, Ordering::Relaxed);
            for hasher in &mut self.hashers {
                hasher.update(buffer.get(..n).unwrap_or_default());
            }
            left = left.saturating_sub(n as u64);
        }
        Ok(TwinStep::Part(Box::new(self)))
    }

    fn found(self) -> Result<Option<Place>, BlobError> {
        for hasher in self.hashers {
            for place in self.files.places_of(&hasher.finish())? {
                let other = self.files.place_path(&place).symlink_metadata();
                if other.is_ok_and(|o| (o.dev(), o.ino()) == self.identity) {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }
}
