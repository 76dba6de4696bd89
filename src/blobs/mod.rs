//! Content files: the only code that creates, renames or removes them.
//!
//! Owns DIR/blobs and DIR/uploads, the order of the system calls that makes bytes durable, and the saved state of
//! unfinished uploads. Knows nothing of rows: which places are in use, and which uploads go on, the caller says.
//! Everything blocks: call from `spawn_blocking`.
//!
//! `uploads` has content that comes, `survey` what looks at content that lies here.

mod disk;
mod error;
mod files;
mod folders;
mod place;
mod survey;
mod sync;
#[cfg(test)]
mod tests;
mod uploads;

pub use ahead::Ahead;
pub use buffer::{BLOCK, Buffer};
/// What the power-cut tests put in the place of the machine.
#[cfg(test)]
pub(crate) use disk::Disk;
pub use error::{BlobError, BlobErrorKind};
pub use ingest::{Ingest, Verified};
pub use listing::UploadListing;
pub use odd::Foreign;
pub use place::{Place, Purpose, UploadName};
pub use resuming::{Hashed, Resumed, Resuming};
pub use scrub::{FoundContent, Listed};
pub use twin::{TwinSearch, TwinStep};

use crate::types::{Algorithm, Digest, RepoId, UploadId};
use bytes::Bytes;
use files::Files;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use survey::{odd, scrub};
use uploads::{ahead, buffer, ingest, listing, resuming, twin, upload};

/// Files that are listed in one go.
const LISTED: usize = 1000;

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
        let files = Arc::new(Files::open(options, disk, false)?);
        Ok(Self { files })
    }

    /// The same for a check: something else that has the name of a folder is left, and told of by
    /// [`Blobs::strangers`].
    pub fn open_for_check(options: BlobOptions) -> Result<Self, BlobError> {
        let disk = Arc::new(disk::Machine::default());
        let files = Arc::new(Files::open(options, disk, true)?);
        Ok(Self { files })
    }

    /// This boot of the machine, as [`Saved::boot_id`] names it.
    pub fn boot_id(&self) -> &str {
        &self.files.boot_id
    }

    /// A new upload under an id that was never used: nothing is on disk before the first bytes are many, or saved.
    pub fn begin(&self, name: UploadName) -> Ingest {
        Ingest::begin(Arc::clone(&self.files), name)
    }

    /// Takes up an upload from its file. The hash state covers `saved.offset`; what lies beyond was written after it:
    /// under the same boot of the machine it is hashed from the file and counts, under another one it is cut off
    /// (design section 4). Without a saved row the same holds from offset 0. What this process has hashed of it already
    /// (`hashed`) is not hashed again. `Locked` if somebody else holds the same upload, in this process or another.
    ///
    /// `Damaged` if the file is gone or shorter than `saved.offset`, as it is after a failed fsync, or if it has another
    /// name ([`Blobs::twin`]).
    pub fn resume(
        &self,
        name: UploadName,
        saved: Option<&Saved>,
        hashed: Option<&Hashed>,
    ) -> Result<Resuming, BlobError> {
        Resuming::open(Arc::clone(&self.files), name, saved, hashed)
    }

    /// The file of a session of this repository, if there is one: a look for each algorithm, and no list.
    pub fn session_file(
        &self,
        id: UploadId,
        repo: RepoId,
    ) -> Result<Option<UploadName>, BlobError> {
        for algorithm in Algorithm::ALL {
            let name = UploadName::session(id, repo, algorithm);
            let path = self.files.upload_path(name);
            match path.symlink_metadata() {
                Ok(meta) if meta.is_file() => return Ok(Some(name)),
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(BlobError::io("look at", &path)(e)),
            }
        }
        Ok(None)
    }

    /// Who began the upload of this file ([`Ingest::of`]), as far as the file system keeps that.
    pub fn owner_of(&self, name: UploadName) -> Result<Option<Arc<str>>, BlobError> {
        let file = self.files.read_upload(name)?;
        Ok(file.and_then(|file| self.files.mark_of(&file).owner))
    }

    /// Begins to look for the place that is another name of an upload's file: what a closing left that was killed before
    /// its end. If a blob's row names it the upload is over, and only its name is to go; else the place is, before the
    /// upload can be taken up. `None` where the file has one name; else its steps read all of it.
    pub fn twin(&self, name: UploadName) -> Result<Option<TwinSearch>, BlobError> {
        TwinSearch::open(Arc::clone(&self.files), name)
    }

    /// All files of sessions on disk, for a start or a check; files of other names are left alone.
    pub fn uploads(&self) -> Result<Vec<UploadFile>, BlobError> {
        self.list(Purpose::Session)
    }

    /// All files of fills on disk, for the same.
    pub fn fills(&self) -> Result<Vec<UploadFile>, BlobError> {
        self.list(Purpose::Fill)
    }

    /// The files of one purpose on disk, a piece at a time.
    pub fn listing(&self, purpose: Purpose) -> Result<UploadListing, BlobError> {
        UploadListing::open(Arc::clone(&self.files), purpose)
    }

    fn list(&self, purpose: Purpose) -> Result<Vec<UploadFile>, BlobError> {
        let (mut listing, mut all) = (self.listing(purpose)?, Vec::new());
        while let Some(some) = listing.some(LISTED)? {
            all.extend(some);
        }
        Ok(all)
    }

    /// Bytes in an upload's file; 0 if there is none.
    pub fn upload_len(&self, name: UploadName) -> Result<u64, BlobError> {
        let path = self.files.upload_path(name);
        match path.symlink_metadata() {
            Ok(meta) => Ok(meta.len()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(BlobError::io("look at", &path)(e)),
        }
    }

    /// Removes an upload's file (absent is fine).
    pub fn discard(&self, name: UploadName) -> Result<(), BlobError> {
        self.files.discard(name)
    }

    /// Opens a placed blob for reading; `Damaged` if it is not there or not `size` bytes long, or the place is that of
    /// another digest.
    pub fn open_place(&self, place: &Place, digest: &Digest, size: u64) -> Result<File, BlobError> {
        self.files.open_place(place, digest, size)
    }

    /// The same without a wait for the disk, also from async threads: `None` where it would need one, or anything is wrong.
    pub fn open_place_now(&self, place: &Place, digest: &Digest, size: u64) -> Option<File> {
        self.files.open_place_now(place, digest, size)
    }

    /// Whether the file of a place is gone, or has another length, though the folder that it belongs to is there.
    pub fn is_lost(&self, place: &Place, size: u64) -> bool {
        self.files.is_lost(place, size)
    }

    /// Removes places and makes that durable (absent is fine). An error means that some may still be there, or come
    /// back after a power cut: call again.
    pub fn remove(&self, places: &[Place]) -> Result<(), BlobError> {
        self.files.remove(places).result
    }

    /// The same; says of each whether it is gone for good.
    pub fn remove_each(&self, places: &[Place]) -> Removed {
        self.files.remove(places)
    }

    /// Whether `bytes` more fit above the reserve; `NoSpace` if not. Promises nothing: others write, too, and each
    /// write looks again.
    pub fn room_for(&self, bytes: u64) -> Result<(), BlobError> {
        self.files.room_for(bytes)
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
