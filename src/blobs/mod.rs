//! Content files: the only code that creates, renames or removes them. STUB.

use crate::types::{Algorithm, Digest, RepoId, UploadId};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

/// Failures.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Bytes do not have the digest that was promised.
    #[error("the content is {got}, not {wanted}")]
    Digest { wanted: Digest, got: Digest },
    /// Not enough room.
    #[error("the disk has {free} bytes free above its reserve; {needed} are needed")]
    NoSpace { needed: u64, free: u64 },
    /// A place is not there (damage) or has another length.
    #[error("content file {0} is missing or damaged")]
    Damaged(String),
    /// Anything the file system said.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
}
/// kinds
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobErrorKind {
    Digest,
    NoSpace,
    Damaged,
    Io,
}
impl BlobError {
    pub fn kind(&self) -> BlobErrorKind {
        todo!()
    }
}

#[derive(Debug, Clone)]
pub struct BlobOptions {
    /// DIR; uses DIR/blobs, DIR/uploads
    pub dir: PathBuf,
    /// bytes kept free
    pub reserve_bytes: u64,
    /// content of at most this many bytes is handed back instead of placed
    pub inline_max: u64,
}

/// Where a blob's bytes lie, relative to DIR/blobs: `sha256/ab/abcd....<upload id>`; used once and never again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub String);

/// What `Ingest::finish` made durable.
#[derive(Debug)]
pub struct Sealed {
    pub digest: Digest,
    pub size: u64,
    pub body: SealedBody,
}
#[derive(Debug)]
pub enum SealedBody {
    /// few bytes: the caller puts them in the store's `bytes`
    Inline(Bytes),
    /// a durable file at this place
    Placed(Place),
}

/// What must be kept to take up an upload after a restart: never covers bytes that are not on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub offset: u64,
    pub hash_state: Vec<u8>,
    pub boot_id: String,
}

/// The directory of contents; cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    _inner: Arc<()>,
}
impl Blobs {
    pub fn open(_o: BlobOptions) -> Result<Self, BlobError> {
        todo!()
    }
    /// A new upload: nothing on disk before the first byte. The temp file is uploads/<id>.<repo id>.<algorithm>.
    pub fn begin(&self, _id: UploadId, _repo: RepoId, _a: Algorithm) -> Ingest {
        todo!()
    }
    /// Takes up an upload from its file: hash state covers `saved.offset`, the tail beyond is hashed from the file (same boot) or cut off (another boot id). No saved row: all of the file is hashed if same... see DESIGN section 4. Err if there is no file and saved.offset > 0.
    pub fn resume(
        &self,
        _id: UploadId,
        _repo: RepoId,
        _a: Algorithm,
        _saved: Option<&Saved>,
    ) -> Result<Ingest, BlobError> {
        todo!()
    }
    /// Ids (with repo, algorithm, length, age by mtime) of the upload files on disk, for start-up and reaping.
    pub fn uploads(&self) -> Result<Vec<UploadFile>, BlobError> {
        todo!()
    }
    /// Removes an upload's file (absent is fine).
    pub fn discard(&self, _id: UploadId, _repo: RepoId, _a: Algorithm) -> Result<(), BlobError> {
        todo!()
    }
    /// Opens a placed blob; checks the length.
    pub fn open_place(&self, _p: &Place, _size: u64) -> Result<std::fs::File, BlobError> {
        todo!()
    }
    /// Unlinks places and fsyncs their directories (absent is fine).
    pub fn remove(&self, _p: &[Place]) -> Result<(), BlobError> {
        todo!()
    }
    /// 507 check before bytes arrive.
    pub fn room_for(&self, _bytes: u64) -> Result<(), BlobError> {
        todo!()
    }
    pub fn counters(&self) -> BlobCounters {
        todo!()
    }
}
#[derive(Debug, Clone)]
pub struct UploadFile {
    pub id: UploadId,
    pub repo: RepoId,
    pub algorithm: Algorithm,
    pub len: u64,
    pub idle: std::time::Duration,
}
#[derive(Debug, Clone, Copy, Default)]
pub struct BlobCounters {
    pub fsyncs: u64,
    pub fsync_micros: u64,
    pub bytes_in: u64,
    pub blobs_sealed: u64,
}

/// Bytes on their way to become a blob. All methods block: call from spawn_blocking.
pub struct Ingest {
    _x: (),
}
impl Ingest {
    pub fn id(&self) -> UploadId {
        todo!()
    }
    pub fn algorithm(&self) -> Algorithm {
        todo!()
    }
    pub fn offset(&self) -> u64 {
        todo!()
    }
    /// Hashes and appends.
    pub fn write(&mut self, _b: &[u8]) -> Result<(), BlobError> {
        todo!()
    }
    /// Cuts back to `offset` is not offered: a failed chunk leaves what arrived.
    /// Leaves nothing in memory alone: buffered bytes are written to the file (not synced).
    pub fn spill(&mut self) -> Result<(), BlobError> {
        todo!()
    }
    /// fdatasync, then what to keep.
    pub fn checkpoint(&mut self) -> Result<Saved, BlobError> {
        todo!()
    }
    /// Verify digest -> (inline) or fsync, rename, fsync directory. On a digest mismatch the temp file is removed.
    /// `known`: the store already has this digest: see `finish_known`.
    pub fn finish(self, _wanted: &Digest) -> Result<Sealed, BlobError> {
        todo!()
    }
    /// Verify the digest only and keep the temp file (its bytes are not needed if the store still has the blob at commit); then either `drop_known` or `seal`.
    pub fn verify(self, _wanted: &Digest) -> Result<Verified, BlobError> {
        todo!()
    }
}
/// Verified bytes, still in the temp file (or in memory if few).
pub struct Verified {
    _x: (),
}
impl Verified {
    pub fn digest(&self) -> Digest {
        todo!()
    }
    pub fn size(&self) -> u64 {
        todo!()
    }
    /// Make durable: fsync file, rename, fsync directory; few bytes come back inline.
    pub fn seal(self) -> Result<Sealed, BlobError> {
        todo!()
    }
    /// The store has the blob already: remove the temp file.
    pub fn discard(self) -> Result<(), BlobError> {
        todo!()
    }
}
