//! The store's files over the reserve: a write that finds the disk full is given a piece of it, if its work may have one.
//!
//! So no batch fails where the reserve has the room. A sync that finds no room is not tried again: what it left in memory
//! cannot be relied on; the reserve is given up for the opening of the file that follows.

use crate::store::disk::{Disk, DiskFile, Opener};
use crate::store::engine::Engine;
use crate::store::reserve::Reserve;
use crate::store::{Store, StoreError};
use rustix::io::Errno;
use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// A disk whose files may have of the reserve what [`Reserve::lend`] last said.
pub(in crate::store) fn over(disk: Opener, reserve: Arc<Reserve>) -> Opener {
    Arc::new(Lender { disk, reserve })
}

struct Lender {
    disk: Opener,
    reserve: Arc<Reserve>,
}

impl Lender {
    fn over(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let reserve = Arc::clone(&self.reserve);
        Box::new(Lending { file, reserve })
    }
}

impl Disk for Lender {
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        Ok(self.over(self.disk.open(path)?))
    }
    fn open_frozen(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        self.disk.open_frozen(path)
    }
    fn open_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        Ok(self.over(self.disk.open_log(path)?))
    }
    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }
    fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.make_dir(dir)
    }
    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.disk.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.disk.sync_dir(dir)
    }
    fn free(&self, dir: &Path) -> Option<u64> {
        self.disk.free(dir)
    }
    fn allocate(&self, file: &File, from: u64, bytes: u64) -> Result<(), Errno> {
        self.disk.allocate(file, from, bytes)
    }
}

/// A file, and the reserve.
struct Lending {
    file: Box<dyn DiskFile>,
    reserve: Arc<Reserve>,
}

impl Lending {
    fn with_room(&self, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match work() {
                Err(e) if is_full(&e) && self.reserve.give() => {}
                done => return done,
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// Whether a full disk is behind a failure.
fn is_of_full_disk(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(is_full) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl<E: Engine> Store<E> {
    /// Makes small files beside the database that a start cannot do without. Where the disk has no room for them, a piece of
    /// the reserve is given up and they are made once more: on XFS even a socket takes some.
    pub fn with_room<T, F: Error + 'static>(
        &self,
        mut make: impl FnMut() -> Result<T, F>,
    ) -> Result<T, F> {
        let reserve = &self.inner.shared.reserve;
        match make() {
            Err(error) if is_of_full_disk(&error) && reserve.give_to_files() => make(),
            done => done,
        }
    }
}

impl std::fmt::Debug for Lending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl DiskFile for Lending {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_room(|| self.file.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|e| {
            if is_full(e) {
                self.reserve.give_all();
            }
        })
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_room(|| self.file.write(offset, data))
    }
    fn file(&self) -> Option<&File> {
        self.file.file()
    }
}
