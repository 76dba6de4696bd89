//! Content files: the only code that creates, renames or removes them.
//!
//! Owns DIR/blobs and DIR/uploads, the order of the system calls that makes bytes durable, and the saved state of
//! unfinished uploads. Knows nothing of rows: which places are in use, and which uploads go on, the caller says.
//! Everything blocks: call from `spawn_blocking`.
//!
//! `content` has what is whole and at its place, `uploads` what comes, `growing` those who read it meanwhile, `survey` what looks at everything that lies here.

mod content;
mod disk;
mod error;
mod files;
mod folders;
mod growing;
mod place;
mod survey;
mod sync;
#[cfg(test)]
mod tests;
mod uploads;

pub use adopting::{Adopted, Adopting, can_adopt};
pub use ahead::Ahead;
pub use buffer::{BLOCK, Buffer};
pub use content::Content;
/// What the power-cut tests put in the place of the machine.
#[cfg(test)]
pub(crate) use disk::Disk;
pub use error::{BlobError, BlobErrorKind};
pub use growing::{Growing, GrowingError, GrowingPart, GrowingReader};
pub use ingest::{Ingest, Verified};
pub use linking::HardLink;
pub use listing::UploadListing;
pub use odd::Foreign;
pub use place::{Place, Purpose, UploadName};
pub use resuming::{Hashed, Resumed, Resuming};
pub use scrub::{FoundContent, Listed};
pub use twin::{TwinSearch, TwinStep};
pub use uploads::Uploads;

use crate::types::Digest;
use bytes::Bytes;
use files::Files;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use survey::{odd, scrub};
use uploads::{adopting, ahead, buffer, ingest, linking, listing, resuming, twin, upload};

/// Where content lies and how much of it may.
#[derive(Debug, Clone)]
pub struct BlobOptions {
    /// DIR; this module uses DIR/blobs and DIR/uploads.
    pub dir: PathBuf,
    /// Bytes of the file system that content never uses.
    pub reserve_bytes: u64,
    /// More that it leaves free for now: what others, who come first, are owed of this disk.
    pub owed_bytes: Arc<AtomicU64>,
    /// Content of at most this many bytes is handed back instead of placed.
    pub inline_max: u64,
}

/// What [`Ingest::finish`] or [`Verified::seal`] made durable.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The digest, as promised and checked.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are.
    pub body: SealedBody,
    /// The upload whose file still has its own name: to be discarded once the commit stands, or was refused.
    pub upload: Option<UploadName>,
}

/// Where sealed bytes are.
#[derive(Debug, Clone)]
pub enum SealedBody {
    /// Few bytes, durable nowhere yet: the caller puts them in the store's `bytes`.
    Inline(Bytes),
    /// A durable file at this place.
    Placed(Place),
}

impl SealedBody {
    /// The content file, if it has one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Placed(place) => Some(place),
            Self::Inline(_) => None,
        }
    }
}

/// What must be kept to take up an upload after a restart: never covers bytes that are not on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Bytes from the start that were synced.
    pub offset: u64,
    /// State of the hash after those bytes.
    pub hash_state: Vec<u8>,
    /// The boot of the machine under which this was saved.
    pub boot_id: String,
}

/// What a removal of several places came to.
#[derive(Debug)]
pub struct Removed {
    /// Of each place, whether it is gone and will not come back.
    pub gone: Vec<bool>,
    /// Why the first that is not gone is not.
    pub result: Result<(), BlobError>,
}

/// An upload file on disk.
#[derive(Debug, Clone)]
pub struct UploadFile {
    /// Its name: whose it is, and of which repository.
    pub name: UploadName,
    /// Bytes in the file.
    pub len: u64,
    /// Running time since a [`UploadListing`] first found the file as it is; zero at the first look of this process. The
    /// wall clock has no part in it: a clock that jumps must not end uploads.
    pub idle: Duration,
}

/// What content files cost so far; all since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlobCounters {
    /// fsync and fdatasync calls, of files and directories.
    pub fsyncs: u64,
    /// Microseconds spent in them.
    pub fsync_micros: u64,
    /// Bytes taken in.
    pub bytes_in: u64,
    /// Blobs made durable, inline ones included.
    pub blobs_sealed: u64,
    /// Bytes of unfinished uploads and fills that were hashed again from their files.
    pub bytes_rehashed: u64,
    /// Files in DIR/uploads that were looked at in listings.
    pub uploads_listed: u64,
}

/// The directory of contents; cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    /// Content that is here.
    pub content: Content,
    /// Content that comes.
    pub uploads: Uploads,
    files: Arc<Files>,
}

impl Blobs {
    /// Opens DIR, making what is not there: folders 0700, durable before this returns.
    pub fn open(options: BlobOptions) -> Result<Self, BlobError> {
        Self::open_over(options, Arc::new(disk::Machine::default()))
    }

    /// The same on a disk of a test's.
    #[cfg(test)]
    pub(crate) fn open_on(options: BlobOptions, disk: Arc<dyn Disk>) -> Result<Self, BlobError> {
        Self::open_over(options, disk)
    }

    fn open_over(options: BlobOptions, disk: Arc<dyn disk::Disk>) -> Result<Self, BlobError> {
        Ok(Self::of(Files::open(options, disk, false)?))
    }

    /// The same for a check: something else that has the name of a folder is left, and told of by
    /// [`Content::strangers`].
    pub fn open_for_check(options: BlobOptions) -> Result<Self, BlobError> {
        let disk = Arc::new(disk::Machine::default());
        Ok(Self::of(Files::open(options, disk, true)?))
    }

    fn of(files: Files) -> Self {
        let files = Arc::new(files);
        Self {
            content: Content {
                files: Arc::clone(&files),
            },
            uploads: Uploads {
                files: Arc::clone(&files),
            },
            files,
        }
    }

    /// This boot of the machine, as [`Saved::boot_id`] names it.
    pub fn boot_id(&self) -> &str {
        &self.files.boot_id
    }

    /// The counters as they are now.
    pub fn counters(&self) -> BlobCounters {
        let c = &self.files.counts;
        BlobCounters {
            fsyncs: c.fsyncs.load(Ordering::Relaxed),
            fsync_micros: c.fsync_micros.load(Ordering::Relaxed),
            bytes_in: c.bytes_in.load(Ordering::Relaxed),
            blobs_sealed: c.blobs_sealed.load(Ordering::Relaxed),
            bytes_rehashed: c.bytes_rehashed.load(Ordering::Relaxed),
            uploads_listed: c.uploads_listed.load(Ordering::Relaxed),
        }
    }
}
