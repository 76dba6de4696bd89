//! The log before the commits, `DIR/meta.redb.log`: what a batch changes is written here in one piece and synced once; then
//! redb may show it, and write it to its own file with many others.
//!
//! A redb commit is two syncs of pages that lie all over the file, and more of them the larger the file is. A record here
//! is a few KiB in a place that was written before. One batch in some hundreds, or that is large, and every idle moment
//! commits to redb durably ([`ChangeLog::restart`]); a start after a crash repeats what came after that.
//!
//! A record begins at a block, so that no write touches an acknowledged one. Batches are numbered; redb has the number of
//! the last one that it holds. The log is written from its beginning again after each restart: its end is where the next
//! number does not follow. The format:
//!
//! ```text
//! "dpl1", u32 length of the changes, u64 number of the batch, SHA-256 of the key, these 16 bytes and the changes, the changes
//! changes: (u8 length, table's name, u32 count of rows, the rows)*    row: u32 length, key, u32 length or !0, value
//! ```
//!
//! Integers are big-endian; a row of length !0 has no value and is deleted. The key is random and lies in redb: what a client
//! pushes is part of the changes, and must not look like a record where an old one lies under the end of a newer.

use super::disk::DiskFile;
use super::engine::Rows;
use super::error::io;
use super::{StoreError, Table};
use sha2::{Digest as _, Sha256};

/// The file's name in the data directory.
pub(super) const FILE: &str = "meta.redb.log";

/// A record begins at a multiple of this: what the disk writes as a whole.
const BLOCK: usize = 4096;
/// Most rows in a log: each may take a page of redb's file (12 MiB), those of many bytes a third more than they have (the log
/// has 2 MiB), and on a disk that fills up meanwhile all of them must fit into the room that the reserve gives up (16 MiB).
const ROWS: usize = 3_000;
/// No log is longer.
const LONGEST: usize = 64 << 20;
const MAGIC: [u8; 4] = *b"dpl1";
const HEAD: usize = 48;
/// The store's own secret, by which its records are known.
pub type LogKey = [u8; 32];
/// In the place of a value's length: the row is deleted.
const DELETED: u32 = u32::MAX;

/// The open log.
pub struct ChangeLog {
    file: Box<dyn DiskFile>,
    key: LogKey,
    /// Bytes that records may take.
    room: usize,
    /// Where the next record goes.
    end: usize,
    /// Rows of the records before that.
    rows: usize,
    /// The number of the last batch.
    last: u64,
    /// The file has its length and holds zeros alone, on the disk.
    is_clear: bool,
    /// The last record: its memory is for the next.
    record: Vec<u8>,
}

impl ChangeLog {
    /// Opens the log of a store whose redb file holds all batches up to `last`. `repeat` gets the changes of each batch
    /// after that, up to `upto`, in their order. Nothing may be appended before [`ChangeLog::clear`].
    pub fn open(
        file: Box<dyn DiskFile>,
        key: LogKey,
        room: usize,
        last: u64,
        upto: u64,
        mut repeat: impl FnMut(Changes<'_>) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let mut log = Self {
            file,
            key,
            room: room / BLOCK * BLOCK,
            end: 0,
            rows: 0,
            last,
            is_clear: false,
            record: Vec::new(),
        };
        let bytes = log.read()?;
        let mut rest = bytes.as_slice();
        if let Some((number, ..)) = record(&key, rest).filter(|first| first.0 > log.next()) {
            return Err(StoreError::Log(format!(
                "{FILE} begins with change {number}, but meta.redb ends with {last}: they are not of one store, so put back the one that is missing, or remove {FILE} to go on without what it holds"
            )));
        }
        while let Some((number, changes, after)) =
            record(&key, rest).filter(|found| found.0 <= log.next())
        {
            // Lower ones are in redb already.
            if number == log.next() && number <= upto {
                repeat(Changes(changes))?;
                log.last = number;
            }
            rest = after;
        }
        match last_of(&key, rest).filter(|later| *later > log.next()) {
            // A batch is begun when the one before it is on the disk: this is no record that a crash cut short.
            Some(later) => Err(StoreError::Log(format!(
                "{FILE} is damaged: it cannot be read at change {}, and holds others up to {later}; to go on without all of these, remove it",
                log.next()
            ))),
            None => Ok(log),
        }
    }

    fn read(&self) -> Result<Vec<u8>, StoreError> {
        let failed = |e| io(format!("read {FILE}"), &e);
        let length = self.file.len().map_err(failed)?;
        let length = usize::try_from(length).ok().filter(|l| *l <= LONGEST);
        let Some(length) = length else {
            return Err(StoreError::Log(format!(
                "{FILE} is longer than any that this program writes: put back the right one, or remove it to go on without what it holds"
            )));
        };
        let mut bytes = vec![0; length];
        self.file.read(0, &mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// Forgets everything, on the disk before this returns: redb holds it durably. A batch whose sync failed must not be
    /// found by a later start, after others were told that it is not there; and whoever puts an older copy of the redb file
    /// in place finds no log that contradicts it.
    ///
    /// What was written once needs no more from the file system than the blocks themselves: a later sync is one write.
    pub fn clear(&mut self) -> Result<(), StoreError> {
        if !self.is_clear {
            let cleared = self.file.set_len(self.room as u64);
            cleared
                .and_then(|()| self.file.write(0, &vec![0; self.room]))
                .and_then(|()| self.file.sync_data())
                .map_err(|e| io(format!("clear {FILE}"), &e))?;
        }
        self.is_clear = true;
        self.begin();
        Ok(())
    }

    /// The number of the next batch.
    pub fn next(&self) -> u64 {
        self.last + 1
    }

    /// Whether redb holds everything durably.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Makes the changes of the next batch durable, or answers that they have no room: then redb must.
    pub fn append(&mut self, changes: &[u8], rows: usize) -> Result<bool, StoreError> {
        let length = (HEAD + changes.len()).next_multiple_of(BLOCK);
        let fits = length <= self.room - self.end && self.rows + rows <= ROWS;
        let (Ok(size), true) = (u32::try_from(changes.len()), fits) else {
            return Ok(false);
        };
        let next = self.next();
        let record = &mut self.record;
        record.clear();
        record.extend(MAGIC);
        record.extend(size.to_be_bytes());
        record.extend(next.to_be_bytes());
        record.extend(check(&self.key, record, changes));
        record.extend(changes);
        record.resize(length, 0);
        self.is_clear = false;
        let written = self.file.write(self.end as u64, record);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|e| io(format!("write {FILE}"), &e))?;
        self.end += length;
        self.rows += rows;
        self.last += 1;
        Ok(true)
    }

    /// redb has committed everything durably, up to the batch of the next number.
    pub fn restart(&mut self) {
        self.begin();
        self.last += 1;
    }

    fn begin(&mut self) {
        self.end = 0;
        self.rows = 0;
    }
}

/// The record at the beginning: its number, its changes and what follows it; `None` if there is no whole one.
fn record<'a>(key: &LogKey, bytes: &'a [u8]) -> Option<(u64, &'a [u8], &'a [u8])> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let (start, sum) = head.split_at(16);
    let (magic, size) = start.split_first_chunk()?;
    let (size, number) = size.split_first_chunk()?;
    let size = u32::from_be_bytes(*size) as usize;
    let changes = body.get(..size)?;
    if *magic != MAGIC || sum != check(key, start, changes) {
        return None;
    }
    let length = (HEAD + size).next_multiple_of(BLOCK);
    Some((
        u64::from_be_bytes(number.try_into().ok()?),
        changes,
        bytes.get(length..).unwrap_or_default(),
    ))
}

/// The highest number of a whole record that begins at any block.
fn last_of(key: &LogKey, bytes: &[u8]) -> Option<u64> {
    let starts = (0..bytes.len()).step_by(BLOCK);
    let found = starts.filter_map(|at| Some(record(key, bytes.get(at..)?)?.0));
    found.max()
}

fn check(key: &LogKey, start: &[u8], changes: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(key)
        .chain_update(start)
        .chain_update(changes)
        .finalize()
        .into()
}

/// Appends the rows of one table to a batch's changes.
pub(super) fn add(changes: &mut Vec<u8>, table: Table, rows: &Rows) {
    let name = table.name().as_bytes();
    // Names are short and constant, keys and values limited far below 4 GiB, and no overlay has so many rows.
    changes.push(name.len() as u8);
    changes.extend(name);
    changes.extend((rows.len() as u32).to_be_bytes());
    for (key, value) in rows {
        changes.extend((key.len() as u32).to_be_bytes());
        changes.extend(key);
        match value {
            Some(value) => {
                changes.extend((value.len() as u32).to_be_bytes());
                changes.extend(value);
            }
            None => changes.extend(DELETED.to_be_bytes()),
        }
    }
}

/// A batch's changes as they lie in the log.
pub struct Changes<'a>(&'a [u8]);

impl Changes<'_> {
    /// Calls `each` with every table's rows, in the order in which they were added. The sum over them was right, so what
    /// does not read is a defect, not an accident.
    pub fn each(
        mut self,
        mut each: impl FnMut(Table, Rows) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let strange = || StoreError::Damaged(format!("{FILE} holds what no program wrote"));
        while !self.0.is_empty() {
            let (table, rows) = self.table().ok_or_else(strange)?;
            each(table, rows)?;
        }
        Ok(())
    }

    fn table(&mut self) -> Option<(Table, Rows)> {
        let size = *self.take(1)?.first()?;
        let name = self.take(size.into())?;
        let table = Table::ALL
            .into_iter()
            .find(|table| table.name().as_bytes() == name)?;
        let mut rows = Rows::new();
        for _ in 0..self.number()? {
            let size = self.number()?;
            let key = self.take(size as usize)?.to_vec();
            let value = match self.number()? {
                DELETED => None,
                size => Some(self.take(size as usize)?.to_vec()),
            };
            rows.insert(key, value);
        }
        Some((table, rows))
    }

    fn take(&mut self, size: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}
