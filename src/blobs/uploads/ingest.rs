//! Bytes on their way to become a blob.

use super::upload::Upload;
use crate::blobs::Ahead;
use crate::blobs::files::Files;
use crate::blobs::place::UploadName;
use crate::blobs::{BlobError, Growing, Saved, Sealed, SealedBody};
use crate::types::{Algorithm, Digest, Hasher, RepoId};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes on their way to become a blob. All methods block: call from `spawn_blocking`.
///
/// Dropping it keeps the upload as far as it was flushed. After any error but a wrong digest it takes nothing more:
/// drop it and either [`crate::blobs::Uploads::resume`] or [`crate::blobs::Uploads::discard`].
pub struct Ingest {
    upload: Upload,
    hasher: Hasher,
    /// Whether the file's name is durable in DIR/uploads.
    named: bool,
    /// Whether somebody may count on the bytes so far: then the upload stands until the commit does.
    promised: bool,
    failed: bool,
    /// Its file was opened again, and may be another one.
    unsure: Option<Box<Partly>>,
    /// The same bytes with another algorithm, as far as they were hashed so far.
    other: Option<(Algorithm, Box<Partly>)>,
}

/// How far a file was hashed once more.
struct Partly {
    hasher: Hasher,
    at: u64,
}

impl Ingest {
    pub(in crate::blobs) fn begin(files: Arc<Files>, name: UploadName) -> Self {
        Self {
            upload: Upload::new(files, name),
            hasher: Hasher::new(name.algorithm),
            named: false,
            promised: false,
            failed: false,
            unsure: None,
            other: None,
        }
    }

    /// One whose bytes are all in its file and in `hasher`.
    pub(in crate::blobs) fn taken_up(upload: Upload, hasher: Hasher, named: bool) -> Self {
        Self {
            hasher,
            named,
            promised: upload.written() > 0,
            failed: false,
            unsure: None,
            other: None,
            upload,
        }
    }

    /// One whose bytes were all taken over from a file; nobody counts on them.
    pub(in crate::blobs) fn adopted(upload: Upload, hasher: Hasher) -> Self {
        Self {
            promised: false,
            ..Self::taken_up(upload, hasher, false)
        }
    }

    /// The same, noted on its file as this one's: who is told from what is on disk whose it is. To be called before it has
    /// a file.
    #[must_use]
    pub fn of(mut self, owner: Option<Arc<str>>) -> Self {
        self.upload.owner = owner;
        self
    }

    /// Readers of what has come and will come; see [`Growing`]. Bytes that were taken up from a file have been hashed by now, so
    /// they can be read at once. `len`: how many bytes there will be in all, if that is known; of those who ask, the first says
    /// it. Dropping this ingest, or what becomes of it, before its end fails them as cut off.
    pub fn grow(&mut self, len: Option<u64>) -> Result<Growing, BlobError> {
        self.usable()?;
        self.wake(u64::MAX)?;
        Ok(self.upload.grow(len))
    }

    /// Whether it takes nothing more.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// The name of its file.
    pub fn name(&self) -> UploadName {
        self.upload.name
    }

    /// The repository that it was begun for.
    pub fn repo(&self) -> RepoId {
        self.upload.name.repo
    }

    /// What the bytes are hashed with while they arrive. Another one is possible at the end, for the price of reading
    /// them again.
    pub fn algorithm(&self) -> Algorithm {
        self.upload.name.algorithm
    }

    /// Bytes taken in so far.
    pub fn offset(&self) -> u64 {
        self.upload.len()
    }

    /// Bytes that would come back inline, were this all; 0 if they are too many for that.
    pub fn inline_len(&self) -> usize {
        let len = self.upload.len();
        if len > self.upload.files.options.inline_max {
            return 0;
        }
        len as usize
    }

    /// Whether its file is open.
    pub fn is_open(&self) -> bool {
        self.upload.is_open()
    }

    /// As [`Ingest::flush`], and the file is synced and closed until more is done with the upload, which opens it again:
    /// for one of many that wait for their next bytes. Meanwhile nobody has the file's lock. `Changed` tells later if the
    /// file was.
    pub fn rest(&mut self) -> Result<(), BlobError> {
        if self.failed {
            self.upload.close();
            return Ok(());
        }
        self.flush()?;
        let rested = self.upload.rest();
        self.tried(rested)
    }

    /// Whether its file rests, or is still to be compared after that: see [`Ingest::wake`].
    pub fn sleeps(&self) -> bool {
        !self.failed && (self.upload.is_resting() || self.unsure.is_some())
    }

    /// Opens the file again if it rests, and refuses one with other bytes than were hashed on the way. Some file systems
    /// number a file anew after it was closed: then it is hashed, at most so many bytes now. Answers whether all is done;
    /// what needs the bytes does the rest itself.
    pub fn wake(&mut self, most: u64) -> Result<bool, BlobError> {
        let woken = self.woken(most);
        if matches!(woken, Err(BlobError::Changed)) {
            // The sender must hear of it first; what cannot be removed is reaped with the idle ones.
            let _ = self.upload.files.discard(self.upload.name);
            return self.tried(woken);
        }
        woken
    }

    fn woken(&mut self, most: u64) -> Result<bool, BlobError> {
        // What rests on after an error is as it was, and may be woken later: all files of the machine may be in use.
        if !self.upload.wake()? {
            let hasher = Hasher::new(self.algorithm());
            self.unsure = Some(Box::new(Partly { hasher, at: 0 }));
        }
        let Some(unsure) = self.unsure.take() else {
            return Ok(true);
        };
        let written = self.upload.written();
        let to = written.min(unsure.at.saturating_add(most));
        let read = self.upload.hash(unsure.hasher, unsure.at, to);
        let hasher = self.tried(read)?;
        if to < written {
            self.unsure = Some(Box::new(Partly { hasher, at: to }));
            return Ok(false);
        }
        if hasher.finish() == self.hasher.clone().finish() {
            return Ok(true);
        }
        let path = self.upload.files.upload_path(self.upload.name);
        Err(BlobError::changed(&path))
    }

    /// Whether [`Ingest::verify`] would have to hash bytes of the file for a digest of this algorithm.
    pub fn wants_hashing(&self, algorithm: Algorithm) -> bool {
        let at = match &self.other {
            Some((other, partly)) if *other == algorithm => partly.at,
            _ => 0,
        };
        algorithm != self.algorithm() && at < self.upload.written()
    }

    /// Does some of that before: at most so many bytes.
    pub fn hash_as(&mut self, algorithm: Algorithm, most: u64) -> Result<(), BlobError> {
        self.usable()?;
        self.wake(u64::MAX)?;
        let Partly { hasher, at } = self.hashed_as(algorithm);
        let to = self.upload.written().min(at.saturating_add(most));
        let hasher = self.upload.hash(hasher, at, to)?;
        self.other = Some((algorithm, Box::new(Partly { hasher, at: to })));
        Ok(())
    }

    fn hashed_as(&mut self, algorithm: Algorithm) -> Partly {
        match self.other.take().filter(|(other, _)| *other == algorithm) {
            Some((_, partly)) => *partly,
            None => Partly {
                hasher: Hasher::new(algorithm),
                at: 0,
            },
        }
    }

    /// The hash of what was taken in so far, to be carried on by who hashes bytes before they are written.
    pub fn ahead(&self) -> Ahead {
        Ahead::of(self.hasher.clone(), self.algorithm(), self.offset())
    }

    /// Hashes and appends. `NoSpace` when the reserve is reached. What failed half way is cut off or kept by
    /// [`crate::blobs::Uploads::resume`], which also says from where to go on.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.write_hashed(bytes, None)
    }

    /// As [`Ingest::write`], for bytes that `ahead` has taken in, if it has.
    pub fn write_hashed(&mut self, bytes: &[u8], ahead: Option<Ahead>) -> Result<(), BlobError> {
        self.usable()?;
        self.wake(u64::MAX)?;
        let kept = self.upload.append(bytes);
        self.taken(kept, bytes, ahead)
    }

    /// As [`Ingest::write_hashed`], but nothing stays in memory: for bytes that others may follow much later.
    pub fn write_through(&mut self, bytes: &[u8], ahead: Option<Ahead>) -> Result<(), BlobError> {
        self.usable()?;
        self.wake(u64::MAX)?;
        let kept = self.upload.spill().and_then(|()| self.upload.put(bytes));
        self.taken(kept, bytes, ahead)
    }

    /// First the file, so that the hash never knows more than could be kept.
    fn taken(
        &mut self,
        kept: Result<(), BlobError>,
        bytes: &[u8],
        ahead: Option<Ahead>,
    ) -> Result<(), BlobError> {
        self.tried(kept)?;
        let (algorithm, len) = (self.algorithm(), self.offset());
        match ahead.and_then(|ahead| ahead.up_to(algorithm, len)) {
            Some(hasher) => self.hasher = hasher,
            None => self.hasher.update(bytes),
        }
        let bytes_in = &self.upload.files.counts.bytes_in;
        bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Hands all bytes to the kernel, so that they outlive this process (not the machine). To be called before a chunk
    /// is acknowledged; costs no fsync.
    pub fn flush(&mut self) -> Result<(), BlobError> {
        self.usable()?;
        let flushed = self.upload.spill();
        self.promised |= self.upload.written() > 0;
        self.tried(flushed)
    }

    /// Makes all bytes so far durable, then says what to keep.
    pub fn checkpoint(&mut self) -> Result<Saved, BlobError> {
        self.flush()?;
        let synced = self.upload.sync(false);
        self.tried(synced)?;
        if self.upload.has_file() && !self.named {
            let named = self.upload.files.sync_uploads();
            self.tried(named)?;
            self.named = true;
        }
        Ok(Saved {
            offset: self.upload.written(),
            hash_state: self.hasher.save(),
            boot_id: self.upload.files.boot_id.clone(),
        })
    }

    /// [`Ingest::verify`], then [`Verified::seal`].
    pub fn finish(self, wanted: &Digest) -> Result<Sealed, BlobError> {
        self.verify(wanted)?.seal()
    }

    /// Checks the digest, and that the file is the one that was written here alone ([`Held`](super::upload::Held)), and
    /// keeps the bytes as they are: if the store turns out to have the blob at commit they are
    /// not needed ([`Verified::discard`]), else [`Verified::seal`] makes them durable. `wanted` may be of another
    /// algorithm than the upload was begun with. On `Digest` and `Changed` the upload is gone.
    pub fn verify(self, wanted: &Digest) -> Result<Verified, BlobError> {
        self.check(Some(wanted))
    }

    /// The same of bytes whose digest nobody named: any is right, and it is of the upload's algorithm.
    pub fn verify_unnamed(self) -> Result<Verified, BlobError> {
        self.check(None)
    }

    fn check(mut self, wanted: Option<&Digest>) -> Result<Verified, BlobError> {
        let growth = self.upload.growth.take();
        let mut checked = self.checked(wanted);
        match (&mut checked, growth) {
            (Ok(verified), growth) => verified.upload.growth = growth,
            (Err(error), Some(growth)) => growth.failed(error),
            (Err(_), None) => {}
        }
        checked
    }

    fn checked(mut self, wanted: Option<&Digest>) -> Result<Verified, BlobError> {
        self.usable()?;
        self.wake(u64::MAX)?;
        let algorithm = wanted.map_or(self.upload.name.algorithm, Digest::algorithm);
        let other = self.hashed_as(algorithm);
        let (upload, promised) = (self.upload, self.promised);
        upload.check_alone()?;
        let got = if algorithm == upload.name.algorithm {
            self.hasher.finish()
        } else {
            upload.hash_from(other.hasher, other.at)?.finish()
        };
        let Some(wanted) = wanted.filter(|wanted| got != **wanted) else {
            return Ok(Verified {
                upload,
                digest: got,
                promised,
            });
        };
        // The sender must hear of the digest first; a file that would not go is reaped with the idle ones.
        let _ = upload.files.discard(upload.name);
        Err(BlobError::Digest {
            wanted: *wanted,
            got,
        })
    }

    fn usable(&self) -> Result<(), BlobError> {
        if self.failed {
            let name = self.upload.name;
            let why = io::Error::other(
                "writing it failed before; ask where it stands and go on from there",
            );
            return Err(BlobError::Io(
                format!("upload {} takes no more bytes", name.id),
                why,
            ));
        }
        Ok(())
    }

    fn tried<T>(&mut self, result: Result<T, BlobError>) -> Result<T, BlobError> {
        if let Err(error) = &result {
            self.failed = true;
            self.upload.failed(error);
        }
        result
    }
}

/// Verified bytes, still in the temporary file (or in memory, if few). Dropping it leaves the file to be reaped.
pub struct Verified {
    upload: Upload,
    digest: Digest,
    promised: bool,
}

impl Verified {
    /// The digest that was checked.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.upload.len()
    }

    /// Makes the bytes durable: fsync the file, rename it to its place, fsync the folder; few bytes come back inline
    /// instead. An upload that somebody counts on keeps its file under its own name, too ([`Sealed::upload`]): a process
    /// that is killed before the commit finds it as it was. After an error the place is garbage that nothing names, or
    /// the upload's file is left to be discarded.
    pub fn seal(mut self) -> Result<Sealed, BlobError> {
        let sealed = self.sealed();
        if let Some(growth) = self.upload.growth.take() {
            match &sealed {
                Ok(sealed) => growth.sealed(sealed),
                Err(error) => growth.failed(error),
            }
        }
        sealed
    }

    fn sealed(&mut self) -> Result<Sealed, BlobError> {
        let (digest, size, name) = (self.digest, self.size(), self.upload.name);
        let files = Arc::clone(&self.upload.files);
        let (body, left) = if size <= files.options.inline_max {
            let on_disk = self.upload.has_file();
            let bytes = self.upload.read_all()?;
            // What comes back from a file is what it is now.
            if on_disk && Digest::of(digest.algorithm(), &bytes) != digest {
                let _ = files.discard(name);
                return Err(BlobError::changed(&files.upload_path(name)));
            }
            if on_disk && !self.promised {
                files.discard(name)?;
            }
            (SealedBody::Inline(bytes), on_disk && self.promised)
        } else {
            self.upload.spill()?;
            self.upload.sync(true)?;
            let (place, kept) = self.upload.place(&digest, self.promised)?;
            (SealedBody::Placed(place), kept)
        };
        files.counts.blobs_sealed.fetch_add(1, Ordering::Relaxed);
        Ok(Sealed {
            digest,
            size,
            body,
            upload: left.then_some(name),
        })
    }

    /// The store has the blob already: removes the temporary file.
    pub fn discard(mut self) -> Result<(), BlobError> {
        self.upload.spared();
        self.upload.files.discard(self.upload.name)
    }
}
