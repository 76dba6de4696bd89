//! The simulated disk as the contents see it: real files, whose every change is noted.

use super::super::state::Op;
use super::{Disk, create_real, real_parent};
use crate::blobs;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

impl blobs::Disk for Disk {
    fn boot_id(&self) -> String {
        self.lock().boot.clone()
    }

    fn make_dir(&self, path: &Path) -> io::Result<bool> {
        self.alive()?.make_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut core = self.alive()?;
        let (dir, name) = core.free_name(path)?;
        let file = create_real(path)?;
        let ino = core.state.next;
        core.real.insert(file.metadata()?.ino(), ino);
        core.note(Op::Create { dir, name, ino });
        Ok(file)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut core = self.alive()?;
        core.room_for_content()?;
        file.write_all_at(bytes, offset)?;
        let ino = core.ino_of(file)?;
        let (at, bytes) = (offset as usize, bytes.to_vec());
        core.note(Op::Write { ino, at, bytes });
        Ok(())
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        let mut core = self.alive()?;
        file.set_len(len)?;
        let (ino, len) = (core.ino_of(file)?, len as usize);
        core.note(Op::SetLen { ino, len });
        Ok(())
    }

    fn set_mark(&self, file: &File, mark: &[u8]) -> io::Result<()> {
        self.marks.pass();
        let mut core = self.alive()?;
        let (ino, mark) = (core.ino_of(file)?, mark.to_vec());
        core.note(Op::Mark { ino, mark });
        Ok(())
    }

    fn mark(&self, file: &File) -> io::Result<Vec<u8>> {
        let core = self.alive()?;
        let mark = core.state.file(core.ino_of(file)?).mark.clone();
        mark.ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync(&self, file: &File, all: bool) -> io::Result<()> {
        let mut core = self.alive()?;
        let ino = core.ino_of(file)?;
        core.note(Op::Sync { ino, all });
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.folder_syncs.pass();
        self.alive()?.sync_dir(path)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut core = self.alive()?;
        let to_name = core.free_name(to)?;
        let from_name = core.state.split(core.inner(from))?;
        core.state.find(core.inner(from))?;
        real_parent(to);
        std::fs::rename(from, to)?;
        core.note(Op::Rename {
            from: from_name,
            to: to_name,
        });
        Ok(())
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut core = self.alive()?;
        let (dir, name) = core.free_name(to)?;
        let ino = core.state.find(core.inner(from))?;
        real_parent(to);
        std::fs::hard_link(from, to)?;
        core.note(Op::Link { dir, name, ino });
        Ok(())
    }

    /// One step, as it is one change of a journal.
    fn reflink(&self, file: &File, source: &File) -> io::Result<()> {
        let mut core = self.alive()?;
        if !core.clones {
            return Err(ErrorKind::Unsupported.into());
        }
        let mut bytes = vec![0; source.metadata()?.len() as usize];
        source.read_exact_at(&mut bytes, 0)?;
        file.write_all_at(&bytes, 0)?;
        let ino = core.ino_of(file)?;
        core.note(Op::Write { ino, at: 0, bytes });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.removals.pass();
        let mut core = self.alive()?;
        let (dir, name) = core.state.split(core.inner(path))?;
        core.state.find(core.inner(path))?;
        std::fs::remove_file(path)?;
        core.note(Op::Remove { dir, name });
        Ok(())
    }
}
