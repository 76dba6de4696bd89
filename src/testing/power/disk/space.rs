//! How much room the simulated disk has: for the pages of the database and its log, the reserve, and content.

use super::{Core, Disk, Ino};
use std::collections::HashSet;
use std::io::{self, ErrorKind};

const PAGE: u64 = 4096;

/// What is taken, and how much there is.
#[derive(Default)]
pub(super) struct Space {
    /// Bytes in all; none: without an end.
    size: Option<u64>,
    /// Pages of the database's files that were written.
    pages: HashSet<(Ino, u64)>,
    /// What the store sets aside.
    reserve: u64,
}

impl Disk {
    /// Has the store set aside so many bytes.
    pub fn keep_reserve(&self, bytes: u64) {
        self.lock().space.reserve = bytes;
    }

    /// What the store sets aside.
    pub fn reserve(&self) -> u64 {
        self.lock().space.reserve
    }

    /// From now on nothing is free.
    pub fn fill(&self) {
        let mut core = self.lock();
        core.space.size = Some(core.taken());
    }

    /// The disk becomes larger.
    pub fn grow(&self, bytes: u64) {
        let mut core = self.lock();
        core.space.size = core.space.size.map(|size| size + bytes);
    }

    /// Bytes that are free, if the disk has an end.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let core = self.lock();
        Some(core.space.size?.saturating_sub(core.taken()))
    }
}

impl Core {
    fn taken(&self) -> u64 {
        let reserve = self.folder.path().join("data/reserve");
        let reserve = std::fs::metadata(reserve).map_or(0, |about| about.len());
        self.space.pages.len() as u64 * PAGE + reserve
    }

    /// Takes the pages of a write, or none if there is no room for them.
    pub(super) fn take(&mut self, ino: Ino, offset: u64, len: usize) -> io::Result<()> {
        let pages = offset / PAGE..(offset + len as u64).div_ceil(PAGE);
        let new = pages.map(|page| (ino, page));
        let new: Vec<_> = new.filter(|at| !self.space.pages.contains(at)).collect();
        let wanted = self.taken() + new.len() as u64 * PAGE;
        if !new.is_empty() && self.space.size.is_some_and(|size| wanted > size) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.space.pages.extend(new);
        Ok(())
    }

    /// Gives back what lies behind a file's new end.
    pub(super) fn cut(&mut self, ino: Ino, len: u64) {
        let end = len.div_ceil(PAGE);
        self.space
            .pages
            .retain(|(file, page)| *file != ino || *page < end);
    }

    /// Content is taken while anything is free.
    pub(super) fn room_for_content(&self) -> io::Result<()> {
        match self.space.size {
            Some(size) if self.taken() >= size => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}
