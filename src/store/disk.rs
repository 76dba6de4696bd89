//! The file system under the store, one method a step that a power cut may come before or after.
//!
//! Tests put in a disk that fails, or one that loses what was not synced.

use super::error::{io, redb as redb_error};
use super::frozen::Frozen;
use super::lock::{self, open_private};
use super::{StoreError, upgrade};
use redb::{Database, StorageBackend, backends::FileBackend};
use std::path::Path;
use std::sync::Arc;

/// redb's cache over a file that is only read: the page cache does the rest.
const FROZEN_CACHE: u64 = 8 << 20;

/// A disk. What [`redb`] writes goes through the database that [`Disk::open`] answers; the rest is here.
pub(crate) trait Disk: Send + Sync {
    /// Opens the redb file at a path, making it if it is not there.
    fn open(&self, path: &Path) -> Result<Database, StoreError>;
    /// Opens a redb file that is there for reading alone, on a disk that takes no writes: nothing of it changes, and
    /// what is committed to it is lost.
    fn open_frozen(&self, path: &Path) -> Result<Database, StoreError> {
        let frozen = Frozen::open(path).map_err(|e| io(format!("read {}", path.display()), &e))?;
        upgrade::builder(FROZEN_CACHE)
            .create_with_backend(frozen)
            .map_err(|e| redb_error("read the metadata file", e))
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
    /// Whether there is such a file.
    fn exists(&self, path: &Path) -> bool {
        path.exists()
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
}

/// A disk that is the machine's own but for how the redb file is opened.
impl<F> Disk for F
where
    F: Fn(&Path) -> Result<Database, StoreError> + Send + Sync,
{
    fn open(&self, path: &Path) -> Result<Database, StoreError> {
        self(path)
    }
}

/// The disk that a store stands on.
pub(crate) type Opener = Arc<dyn Disk>;

/// The machine's own: a file of mode 0600 with the given cache.
pub(super) fn machine(cache_bytes: u64) -> Opener {
    Arc::new(move |path: &Path| {
        let backend = FileBackend::new(open_private(path)?)
            .map_err(|e| redb_error("lock the metadata file", e))?;
        upgrade::builder(cache_bytes)
            .create_with_backend(backend)
            .map_err(|e| redb_error("open the metadata file", e))
    })
}

/// What a simulated disk outside this module needs of redb.
#[cfg(test)]
pub(crate) mod simulated {
    use super::{StoreError, redb_error, upgrade};
    pub(crate) use redb::{Database, StorageBackend};

    /// A database over a backend.
    pub(crate) fn database(
        backend: impl StorageBackend,
        cache_bytes: u64,
    ) -> Result<Database, StoreError> {
        upgrade::builder(cache_bytes)
            .create_with_backend(backend)
            .map_err(|e| redb_error("open the metadata file", e))
    }
}
