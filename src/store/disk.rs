//! The file system under the store, one method a step that a power cut may come before or after.
//!
//! Tests put in a disk that fails, or one that loses what was not synced.

use super::StoreError;
use super::error::{io, redb as redb_error};
use super::frozen::Frozen;
use super::lock::{self, open_private};
use crate::datadir;
pub(crate) use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A disk. What [`redb`] writes goes through the file that [`Disk::open`] answers; the rest is here.
pub(crate) trait Disk: Send + Sync {
    /// Opens the redb file at a path, making it if it is not there.
    fn open(&self, path: &Path) -> Result<Box<dyn StorageBackend>, StoreError>;
    /// Opens a redb file that is there for reading alone, on a disk that takes no writes: nothing of it changes, and
    /// what is committed to it is lost.
    fn open_frozen(&self, path: &Path) -> Result<Box<dyn StorageBackend>, StoreError> {
        let frozen = Frozen::open(path).map_err(|e| io(format!("read {}", path.display()), &e))?;
        Ok(Box::new(frozen))
    }
    /// Opens the store's log for reading and appending, making it if it is not there.
    fn open_log(&self, path: &Path) -> Result<Box<dyn StorageBackend>, StoreError> {
        let file = FileBackend::new(open_private(path)?)
            .map_err(|e| redb_error("open the metadata log", e))?;
        Ok(Box::new(file))
    }
    /// Opens a log that is there for reading alone.
    fn open_log_frozen(&self, path: &Path) -> Result<Box<dyn StorageBackend>, StoreError> {
        let frozen = Frozen::open(path).map_err(|e| io(format!("read {}", path.display()), &e))?;
        Ok(Box::new(frozen))
    }
    /// Whether there is such a file, or anything else of that name.
    fn exists(&self, path: &Path) -> bool {
        // What cannot be looked at is not made anew: opening it tells why.
        datadir::is_there(path).unwrap_or(true)
    }
    /// Makes a folder, mode 0700, and those above it, unless they are there.
    fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        lock::create_dir(dir)
    }
    /// Removes a file if it is there.
    #[expect(
        clippy::disallowed_methods,
        reason = "the database is the store's own file, not content"
    )]
    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(io(format!("remove {}", path.display()), &e))
            }
            _ => Ok(()),
        }
    }
    /// Renames a file; one of the new name is replaced.
    #[expect(
        clippy::disallowed_methods,
        reason = "the database is the store's own file, not content"
    )]
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        std::fs::rename(from, to).map_err(|e| io(format!("create {}", to.display()), &e))
    }
    /// Makes the entries of a folder durable.
    fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        lock::sync_dir(dir)
    }
    /// Bytes that anybody may still write below a folder, if the file system says so.
    fn free(&self, dir: &Path) -> Option<u64> {
        let disk = rustix::fs::statvfs(dir).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    /// Sets room aside for so many bytes of a file, which is made as long as that. A file system may ask for all of it anew,
    /// what the file has already included.
    fn allocate(&self, file: &File, from: u64, bytes: u64) -> Result<(), Errno> {
        retry_on_intr(|| fallocate(file, FallocateFlags::empty(), from, bytes))
    }
}

/// The disk that a store stands on.
pub(crate) type Opener = Arc<dyn Disk>;

/// The machine's own: files of mode 0600.
struct Machine;

impl Disk for Machine {
    fn open(&self, path: &Path) -> Result<Box<dyn StorageBackend>, StoreError> {
        let file = FileBackend::new(open_private(path)?)
            .map_err(|e| redb_error("lock the metadata file", e))?;
        Ok(Box::new(file))
    }
}

/// The machine's own disk.
pub(super) fn machine() -> Opener {
    Arc::new(Machine)
}
