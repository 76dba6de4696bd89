//! The simulated disk as the store sees it: its own steps, and redb's.

use super::super::state::{Ino, Op};
use super::Disk;
use crate::store::{self, DiskFile, StoreError};
use std::io::{self, ErrorKind};
use std::path::Path;

impl store::Disk for Disk {
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        let ino = self.database_file(path).map_err(|e| failed(path, &e))?;
        let disk = self.clone();
        Ok(Box::new(Bytes { disk, ino }))
    }

    fn open_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        let ino = self.database_file(path).map_err(|e| failed(path, &e))?;
        self.lock().logs.insert(ino);
        let disk = self.clone();
        Ok(Box::new(Bytes { disk, ino }))
    }

    fn exists(&self, path: &Path) -> bool {
        let core = self.lock();
        core.state.find(core.inner(path)).is_ok()
    }

    fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        let made = self.alive().and_then(|mut core| core.make_dir(dir));
        made.map(drop).map_err(|e| failed(dir, &e))
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let removed = self.alive().and_then(|mut core| {
            let (dir, name) = core.state.split(core.inner(path))?;
            if core.state.find(core.inner(path)).is_ok() {
                core.note(Op::Remove { dir, name });
            }
            Ok(())
        });
        removed.map_err(|e| failed(path, &e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let renamed = self.alive().and_then(|mut core| {
            let from = core.state.split(core.inner(from))?;
            let to = core.state.split(core.inner(to))?;
            core.note(Op::Rename { from, to });
            Ok(())
        });
        renamed.map_err(|e| failed(to, &e))
    }

    fn free(&self, _dir: &Path) -> Option<u64> {
        self.free_bytes()
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        let synced = self.alive().and_then(|mut core| core.sync_dir(dir));
        synced.map_err(|e| failed(dir, &e))
    }
}

impl Disk {
    fn database_file(&self, path: &Path) -> io::Result<Ino> {
        let mut core = self.alive()?;
        if let Ok(ino) = core.state.find(core.inner(path)) {
            return Ok(ino);
        }
        let (dir, name) = core.free_name(path)?;
        let ino = core.state.next;
        core.note(Op::Create { dir, name, ino });
        Ok(ino)
    }
}

/// The database's bytes.
struct Bytes {
    disk: Disk,
    ino: Ino,
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "database {}", self.ino)
    }
}

impl DiskFile for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.alive()?.state.file(self.ino).data.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let core = self.disk.alive()?;
        let from = offset as usize;
        let data = &core.state.file(self.ino).data;
        let bytes = data.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut core = self.disk.alive()?;
        core.cut(self.ino, len);
        let (ino, len) = (self.ino, len as usize);
        core.note(Op::SetLen { ino, len });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let (ino, all) = (self.ino, false);
        self.disk.alive()?.note(Op::Sync { ino, all });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut core = self.disk.alive()?;
        core.take(self.ino, offset, data.len())?;
        let (ino, at, bytes) = (self.ino, offset as usize, data.to_vec());
        core.note(Op::Write { ino, at, bytes });
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Damaged(format!("{}: {error}", path.display()))
}
