//! Content that comes: the files of uploads and what is in memory before it is in them, hashed on the way, taken up again after
//! a restart.
//!
//! Owns the files in DIR/uploads. Must not know who sends the bytes, nor which uploads go on: that the caller says.

pub(super) mod adopting;
pub(super) mod ahead;
pub(super) mod buffer;
pub(super) mod ingest;
pub(super) mod linking;
pub(super) mod listing;
pub(super) mod resuming;
pub(super) mod twin;
pub(super) mod upload;

use super::files::Files;
use super::{
    Adopted, Adopting, BlobError, HardLink, Hashed, Ingest, Purpose, Resuming, Saved, Sealed,
    TwinSearch, UploadFile, UploadListing, UploadName,
};
use crate::types::{Algorithm, Digest, RepoId, UploadId};
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

/// Files that are listed in one go.
const LISTED: usize = 1000;

/// Uploads, of sessions and of fills; cheap to clone. Everything blocks, but for [`Uploads::begin`].
#[derive(Clone)]
pub struct Uploads {
    pub(super) files: Arc<Files>,
}

impl Uploads {
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
    /// name ([`Uploads::twin`]).
    pub fn resume(
        &self,
        name: UploadName,
        saved: Option<&Saved>,
        hashed: Option<&Hashed>,
    ) -> Result<Resuming, BlobError> {
        Resuming::open(Arc::clone(&self.files), name, saved, hashed)
    }

    /// Takes content over from the first `len` bytes of a file that another process opened, step by step; see [`Adopting`]. For
    /// whom, is noted as by [`Ingest::of`]. The source is read and never changed.
    ///
    /// # Errors
    /// `Source` for what is no file, has another length, or is nearly all holes; `NoSpace` also where a clone would need no room.
    pub fn adopting(
        &self,
        name: UploadName,
        owner: Option<Arc<str>>,
        source: Arc<File>,
        len: u64,
    ) -> Result<Adopting, BlobError> {
        Adopting::begin(Arc::clone(&self.files), name, owner, source, len)
    }

    /// Takes all of a file over at once, as content of this digest: durable when this returns. The source is never changed; of
    /// other bytes nothing is left.
    pub fn adopt(
        &self,
        name: UploadName,
        source: File,
        digest: &Digest,
        link: HardLink,
    ) -> Result<Sealed, BlobError> {
        if link == HardLink::IfSafe
            && let Some(sealed) = linking::linked(&self.files, &source, digest)?
        {
            return Ok(sealed);
        }
        let about = source.metadata();
        let about = about.map_err(|e| BlobError::Source(e.to_string()))?;
        let mut adopting = self.adopting(name, None, Arc::new(source), about.len())?;
        loop {
            match adopting.step(u64::MAX)? {
                Adopted::Whole(ingest) => return ingest.finish(digest),
                Adopted::Part(rest) => adopting = *rest,
            }
        }
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
                Err(e) if e.kind() == ErrorKind::NotFound => {}
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
    pub fn sessions(&self) -> Result<Vec<UploadFile>, BlobError> {
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
    pub fn len_of(&self, name: UploadName) -> Result<u64, BlobError> {
        let path = self.files.upload_path(name);
        match path.symlink_metadata() {
            Ok(meta) => Ok(meta.len()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
            Err(e) => Err(BlobError::io("look at", &path)(e)),
        }
    }

    /// Removes an upload's file (absent is fine).
    pub fn discard(&self, name: UploadName) -> Result<(), BlobError> {
        self.files.discard(name)
    }
}
