//! The database's file as redb sees it: bytes on the store's disk, and redb's own locks on them.

use crate::store::StoreError;
use crate::store::disk::DiskFile;
use crate::store::error::io as failed;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;

/// A file of the store's disk.
#[derive(Debug)]
pub(super) struct Backend {
    file: Box<dyn DiskFile>,
    /// The same open file, where the disk has a real one: redb's locks are taken on it.
    locks: Option<FileBackend>,
}

impl Backend {
    /// Of an open file.
    pub fn of(file: Box<dyn DiskFile>) -> Result<Self, StoreError> {
        const WHAT: &str = "lock the metadata file";
        let same = file.file().map(std::fs::File::try_clone).transpose();
        let locks = match same.map_err(|e| failed(WHAT, &e))? {
            Some(same) => Some(FileBackend::new(same).map_err(|e| super::error::redb(WHAT, e))?),
            None => None,
        };
        Ok(Self { file, locks })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.locks.as_ref().map_or(Ok(()), StorageBackend::close)
    }
    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        let locks = self.locks.as_ref().ok_or(BackendError::Unsupported)?;
        locks.try_lock_range(from, to)
    }
    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        let locks = self.locks.as_ref().ok_or(BackendError::Unsupported)?;
        locks.unlock_range(from, to)
    }
}
