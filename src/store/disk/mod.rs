//! The file system under the store, one method a step that a power cut may come before or after.
//!
//! Tests put in a disk that fails, or one that loses what was not synced.

pub(super) mod frozen;
pub(super) mod lend;
pub(super) mod lock;
pub(super) mod reserve;

use super::StoreError;
use super::error::io;
use crate::datadir;
use frozen::Frozen;
use lock::open_private;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};
use std::fmt::Debug;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// An open file, whose bytes are read and written at offsets.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> std::io::Result<u64>;
    /// Reads so many bytes; fewer are an error.
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()>;
    /// Cuts it, or makes it longer by zeros.
    fn set_len(&self, len: u64) -> std::io::Result<()>;
    /// Makes durable what was written.
    fn sync_data(&self) -> std::io::Result<()>;
    /// Writes all of these bytes.
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()>;
    /// The real file behind it, if there is one to take locks on.
    fn file(&self) -> Option<&File> {
        None
    }
}

/// A disk. What an engine and the log write goes through the files that it opens; the rest is here.
pub trait Disk: Send + Sync {
    /// Opens the database at a path, making it if it is not there.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError>;
    /// Opens a database that is there for reading alone, on a disk that takes no writes: nothing of it changes, and
    /// what is committed to it is lost.
    fn open_frozen(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        let frozen = Frozen::open(path).map_err(|e| io(format!("read {}", path.display()), &e))?;
        Ok(Box::new(frozen))
    }
    /// Opens the store's log for reading and appending, making it if it is not there.
    fn open_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        Ok(Box::new(open_private(path)?))
    }
    /// Opens a log that is there for reading alone.
    fn open_log_frozen(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
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
pub type Opener = Arc<dyn Disk>;

impl DiskFile for File {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.metadata()?.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.read_exact_at(out, offset)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        File::set_len(self, len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        File::sync_data(self)
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.write_all_at(data, offset)
    }
    fn file(&self) -> Option<&File> {
        Some(self)
    }
}

/// The machine's own: files of mode 0600.
struct Machine;

impl Disk for Machine {
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        Ok(Box::new(open_private(path)?))
    }
}

/// The machine's own disk.
pub(super) fn machine() -> Opener {
    Arc::new(Machine)
}
