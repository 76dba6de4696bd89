//! Uploads that are taken up from their files: what no saved state covers is hashed again, in steps that the caller bounds.

use super::upload::Upload;
use crate::blobs::files::Files;
use crate::blobs::place::UploadName;
use crate::blobs::{BlobError, Ingest, Saved};
use crate::types::Hasher;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

/// How far the bytes of an upload were hashed. Unlike [`Saved`] it says nothing of what is on disk, and is of no use to
/// another process.
#[derive(Debug, Clone)]
pub struct Hashed {
    /// Bytes from the start that the state covers.
    pub offset: u64,
    /// State of the hash after those bytes.
    pub state: Vec<u8>,
}

/// An upload that is being taken up, and the only writer of its file. Dropping it changes nothing.
pub struct Resuming {
    upload: Upload,
    hasher: Hasher,
    /// So many bytes of the file are hashed.
    at: u64,
    /// Whether the file's name is durable.
    named: bool,
}

/// What a step of [`Resuming`] came to.
pub enum Resumed {
    /// All is hashed.
    Whole(Box<Ingest>),
    /// There is more to hash.
    Part(Box<Resuming>),
}

impl Resuming {
    /// See [`crate::blobs::Uploads::resume`].
    pub(in crate::blobs) fn open(
        files: Arc<Files>,
        name: UploadName,
        saved: Option<&Saved>,
        further: Option<&Hashed>,
    ) -> Result<Self, BlobError> {
        let path = files.upload_path(name);
        let durable = saved.map_or(0, |s| s.offset);
        let Some(file) = files.open_upload(name)? else {
            if durable == 0 {
                return Ok(Self {
                    upload: Upload::new(files, name),
                    hasher: Hasher::new(name.algorithm),
                    at: 0,
                    named: false,
                });
            }
            return Err(BlobError::Damaged(path.display().to_string()));
        };
        let meta = file.metadata().map_err(BlobError::io("look at", &path))?;
        if meta.nlink() > 1 {
            // What is done to the upload would be done to the other.
            return Err(BlobError::Damaged(path.display().to_string()));
        }
        let len = meta.len();
        if len < durable {
            return Err(BlobError::Damaged(path.display().to_string()));
        }
        let mark = files.mark_of(&file);
        let this_boot = mark.this_boot || saved.is_some_and(|s| s.boot_id == files.boot_id);
        let written = if this_boot { len } else { durable };
        if written < len {
            files
                .disk
                .set_len(&file, written)
                .map_err(BlobError::io("cut back", &path))?;
        }
        files.mark(&file, mark.owner.as_deref());
        let algorithm = name.algorithm;
        let restored = saved.and_then(|s| Hasher::restore(algorithm, &s.hash_state, s.offset));
        let (mut hasher, mut at) = match restored {
            Some(hasher) => (hasher, durable),
            None => (Hasher::new(algorithm), 0),
        };
        if let Some(further) = further.filter(|h| (at..=written).contains(&h.offset))
            && let Some(known) = Hasher::restore(algorithm, &further.state, further.offset)
        {
            (hasher, at) = (known, further.offset);
        }
        Ok(Self {
            upload: Upload::new(files, name).with_file(file, written),
            hasher,
            at,
            named: durable > 0,
        })
    }

    /// How far it has come, for who goes on later. The file is synced first: what the kernel could not write it tells to an
    /// open file for sure, to one that is opened later only as long as it remembers.
    pub fn pause(self) -> Result<Hashed, BlobError> {
        self.upload.sync(false)?;
        Ok(Hashed {
            offset: self.at,
            state: self.hasher.save(),
        })
    }

    /// Hashes at most so many bytes more. Blocks for as long as reading them takes.
    pub fn step(mut self, most: u64) -> Result<Resumed, BlobError> {
        let to = self.upload.written().min(self.at.saturating_add(most));
        self.hasher = self.upload.hash(self.hasher, self.at, to)?;
        self.at = to;
        if to < self.upload.written() {
            return Ok(Resumed::Part(Box::new(self)));
        }
        let ingest = Ingest::taken_up(self.upload, self.hasher, self.named);
        Ok(Resumed::Whole(Box::new(ingest)))
    }
}
