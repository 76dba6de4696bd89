//! The bytes of one upload: those in its file, then those still in memory. It neither hashes what arrives nor knows what
//! was promised to anybody: that is `ingest`'s. While it has a file open it is that file's only writer; one that rests has
//! it closed, and whoever wakes it is told whether the file is as it was.

use crate::blobs::BlobError;
use crate::blobs::files::Files;
use crate::blobs::growing::{Growing, Growth};
use crate::blobs::place::{Place, UploadName};
use crate::types::{Digest, Hasher};
use bytes::Bytes;
use std::fs::{File, TryLockError};
use std::ops::Deref;
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes that go to the file in one call, and are read back in one.
const PIECE: usize = 256 * 1024;
/// So many bytes more, and the disk is asked to begin with them: the sync at the end is what a client waits for.
const BEGIN_SYNC: u64 = 4 << 20;

/// A content file that is open for writing, by this holder alone: it has the file's lock (flock(2)), which no other open
/// file has, of this process or another. There is no other way to open a content file for writing.
pub(in crate::blobs) struct Held(File);

impl Held {
    /// The same file with its lock; `Locked` if another writer has that.
    pub fn take(file: File, path: &Path) -> Result<Self, BlobError> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(BlobError::Locked(path.display().to_string())),
            Err(TryLockError::Error(e)) => Err(BlobError::io("lock", path)(e)),
        }
    }
}

impl Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Held {
    /// Gives the lock back at once: closing alone would leave it with a child that is between fork and exec (flock(2)).
    fn drop(&mut self) {
        // What cannot be unlocked goes when the file is closed.
        let _ = self.0.unlock();
    }
}

/// What tells a closed file from another, and from itself with other bytes: device, inode, and when it was written last
/// (s, ns).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark(u64, u64, i64, i64);

impl Mark {
    fn of(file: &File, path: &Path) -> Result<Self, BlobError> {
        let meta = file.metadata().map_err(BlobError::io("look at", path))?;
        let (mtime, mtime_ns) = (meta.mtime(), meta.mtime_nsec());
        Ok(Self(meta.dev(), meta.ino(), mtime, mtime_ns))
    }
}

/// The bytes: first those in the file, then those still in memory.
pub(in crate::blobs) struct Upload {
    pub files: Arc<Files>,
    pub name: UploadName,
    /// Who began it, for its file's mark.
    pub owner: Option<Arc<str>>,
    file: Option<Held>,
    /// The file as it was when it was closed, synced and with nothing left in memory.
    resting: Option<Box<Mark>>,
    written: u64,
    /// As far as the disk was asked to begin.
    begun: u64,
    pending: Vec<u8>,
    /// Who is told how far the file has come.
    pub growth: Option<Box<Growth>>,
}

impl Upload {
    /// No bytes, and no file yet.
    pub fn new(files: Arc<Files>, name: UploadName) -> Self {
        Self {
            files,
            name,
            owner: None,
            file: None,
            resting: None,
            written: 0,
            begun: 0,
            pending: Vec::new(),
            growth: None,
        }
    }

    /// The same with its file, which has `written` bytes.
    pub fn with_file(mut self, file: Held, written: u64) -> Self {
        self.file = Some(file);
        (self.written, self.begun) = (written, written);
        self
    }

    /// Bytes in all.
    pub fn len(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Bytes in the file.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether there is a file.
    pub fn has_file(&self) -> bool {
        self.file.is_some() || self.resting.is_some()
    }

    /// Whether the file is open.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether the file is closed until [`Upload::wake`].
    pub fn is_resting(&self) -> bool {
        self.resting.is_some()
    }

    /// Closes the file until [`Upload::wake`]; all bytes are on the disk before that. What the kernel could not write it
    /// tells to an open file for sure, to one that is opened later only as long as it remembers.
    pub fn rest(&mut self) -> Result<(), BlobError> {
        self.spill()?;
        self.sync(false)?;
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mark = Mark::of(file, &self.files.upload_path(self.name))?;
        self.resting = Some(Box::new(mark));
        self.close();
        Ok(())
    }

    /// Closes the file as it is.
    pub fn close(&mut self) {
        self.file = None;
        self.pending = Vec::new();
    }

    /// Opens the file again if it rests. `Ok(false)`: it may have other bytes than were written here, and as many.
    /// `Changed` if it has not; `Locked` if it has another writer.
    pub fn wake(&mut self) -> Result<bool, BlobError> {
        let Some(mark) = &self.resting else {
            return Ok(true);
        };
        let path = self.files.upload_path(self.name);
        let Some(file) = self.files.open_upload(self.name)? else {
            return Err(BlobError::changed(&path));
        };
        if !Files::is_at(&file, &path, self.written)? {
            return Err(BlobError::changed(&path));
        }
        let is_same = Mark::of(&file, &path)? == **mark;
        (self.file, self.resting) = (Some(file), None);
        Ok(is_same)
    }

    /// Takes in bytes; those that make a large piece, and more than may stay inline, go to the file.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let held = self.pending.len() + bytes.len();
        if held <= PIECE || (self.file.is_none() && held as u64 <= self.files.options.inline_max) {
            self.pending.extend_from_slice(bytes);
            return Ok(());
        }
        self.spill()?;
        if bytes.len() >= PIECE {
            self.put(bytes)
        } else {
            self.pending.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// Moves the bytes in memory to the file.
    pub fn spill(&mut self) -> Result<(), BlobError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.put(&pending)?;
        pending.clear();
        // Given back only if it is of one piece: an upload holds no more than that.
        if pending.capacity() <= PIECE {
            self.pending = pending;
        }
        Ok(())
    }

    /// Appends to the file, which must have everything before.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let needed = bytes.len() as u64;
        self.files.room_for(needed)?;
        let file = match self.file.take() {
            Some(file) => file,
            // Its bytes are to be behind those of the file that is closed.
            None if self.resting.is_some() => {
                let path = self.files.upload_path(self.name);
                return Err(BlobError::Damaged(path.display().to_string()));
            }
            None => self.files.create_upload(self.name, self.owner.as_deref())?,
        };
        let file = self.file.insert(file);
        if let Err(e) = self.files.disk.write_at(file, bytes, self.written) {
            let path = self.files.upload_path(self.name);
            return Err(self.files.fault("write to", &path, needed, e));
        }
        self.written += needed;
        if let Some(growth) = &self.growth {
            growth.written(&self.files, self.name, file, self.written);
        }
        if self.written - self.begun >= BEGIN_SYNC {
            self.files
                .disk
                .begin_sync(file, self.begun, self.written - self.begun);
            self.begun = self.written;
        }
        Ok(())
    }

    /// Makes the file's bytes durable; its times and rights too, if `all`.
    pub fn sync(&self, all: bool) -> Result<(), BlobError> {
        match &self.file {
            Some(file) => self.files.sync_upload(self.name, file, all),
            None => Ok(()),
        }
    }

    /// Takes the file's bytes from offset `from` to `to` into `hasher`; not those in memory.
    pub fn hash(&self, mut hasher: Hasher, from: u64, to: u64) -> Result<Hasher, BlobError> {
        if self.file.is_some() {
            self.hash_own(&mut hasher, from, to)?;
            let rehashed = &self.files.counts.bytes_rehashed;
            rehashed.fetch_add(to.saturating_sub(from), Ordering::Relaxed);
        }
        Ok(hasher)
    }

    /// The same of bytes that nobody has hashed before.
    pub fn hash_own(&self, hasher: &mut Hasher, from: u64, to: u64) -> Result<(), BlobError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut buffer = vec![0; PIECE];
        let mut at = from;
        while at < to {
            let piece = usize::try_from(to - at).map_or(PIECE, |left| left.min(PIECE));
            let piece = &mut buffer[..piece];
            file.read_exact_at(piece, at)
                .map_err(BlobError::io("read", &self.files.upload_path(self.name)))?;
            hasher.update(piece);
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Refuses a file that is not as it was written here: its name must still lead to the very file that is locked, which
    /// must have this one name and as many bytes as were written. Linux has no way to say that nobody else has a file
    /// open for writing; that nobody of this program has is what [`Held`] says.
    pub fn check_alone(&self) -> Result<(), BlobError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let path = self.files.upload_path(self.name);
        if Files::is_at(file, &path, self.written)? && file.metadata().is_ok_and(|m| m.nlink() == 1)
        {
            return Ok(());
        }
        // The sender must hear of it first; what cannot be removed is reaped with the idle ones.
        let _ = self.files.discard(self.name);
        Err(BlobError::changed(&path))
    }

    /// Brings the synced file to a place; see [`Files::place`].
    pub fn place(&self, digest: &Digest, keep: bool) -> Result<(Place, bool), BlobError> {
        let Some(file) = &self.file else {
            let path = self.files.upload_path(self.name);
            return Err(BlobError::Damaged(path.display().to_string()));
        };
        self.files
            .place((self.name, file), self.written, digest, keep)
    }

    /// All bytes from offset `from` of the file on, taken into `hasher`.
    pub fn hash_from(&self, hasher: Hasher, from: u64) -> Result<Hasher, BlobError> {
        let mut hasher = self.hash(hasher, from, self.written)?;
        hasher.update(&self.pending);
        Ok(hasher)
    }

    /// From now on readers are told how far the file has come; they begin from what this answers. `len`: how long all will be,
    /// if that is known; of those who ask, the first says it.
    pub fn grow(&mut self, len: Option<u64>) -> Growing {
        if let Some(growth) = &self.growth {
            return growth.growing();
        }
        let growth = Box::new(Growth::new(len));
        if let Some(file) = &self.file {
            growth.written(&self.files, self.name, file, self.written);
        }
        self.growth.insert(growth).growing()
    }

    /// Tells readers that no more will come.
    pub fn failed(&self, error: &BlobError) {
        if let Some(growth) = &self.growth {
            growth.failed(error);
        }
    }

    /// Tells readers that all is right, in the file and in memory, and not needed: another file has the same.
    pub fn spared(&mut self) {
        let size = self.len();
        if let Some(growth) = self.growth.take() {
            let rest = std::mem::take(&mut self.pending);
            growth.ended(size, self.written, rest.into());
        }
    }

    /// All bytes, for content that is few.
    pub fn read_all(&mut self) -> Result<Bytes, BlobError> {
        let pending = std::mem::take(&mut self.pending);
        let Some(file) = &self.file else {
            return Ok(pending.into());
        };
        let mut all = vec![0; self.written as usize];
        file.read_exact_at(&mut all, 0)
            .map_err(BlobError::io("read", &self.files.upload_path(self.name)))?;
        all.extend_from_slice(&pending);
        Ok(all.into())
    }
}
