//! What the store asks of an engine: rows in tables, read and changed in transactions, and nothing else.
//!
//! Owns the traits and what they promise; `contract` (tests) asks each of these of every engine, on a disk and over power
//! cuts. Must not name an engine. Lanes, batches, overlays, the feed, the log and the reserve stand above it.
//!
//! What an engine promises:
//!
//! 1. **Durable**: what [`Engine::write`] ended with [`End::Durable`] is there after a power cut, wholly; so is everything that
//!    was ended with [`End::Memory`] before it. A cut shows no part of any transaction. What ended in memory alone may be
//!    lost by a cut, the latest first.
//! 2. **Read what was acknowledged**: a read that begins after `write` answered sees what it changed, ended in whichever way.
//! 3. **One state**: a read sees one state of all rows as long as it lives, whatever is committed meanwhile.
//! 4. **All or nothing**: a transaction that answered an error, or ended with [`End::Abort`], changed nothing. So a closure may
//!    run any number of times, also after it returned `Ok`, and counts once.
//! 5. **Serializable over all rows**: one transaction at a time reads and writes; the next sees all that it did. Within one, a
//!    read sees what was changed before it.
//! 6. **Order**: keys are bytes and are ordered as `memcmp` orders them, in whichever direction they are read.
//! 7. **Open end**: an empty end of a page is no upper bound, whatever bytes a key has; an end at or before the start is an
//!    empty page.
//! 8. **Keys and values**: keys of 0 to [`KEY_LIMIT`](super::KEY_LIMIT) bytes and values of 0 to 256 KiB come back as they went in; rows of one
//!    table are no rows of another.
//! 9. **In bulk as one by one**: [`ReadRows::get_many`] and [`ReadRows::first_many`] answer in the order in which they were asked.
//!
//! The clock that never goes back and the feed's order follow from these: both are rows (`table::meta`, `feed`).

use super::disk::Opener;
use super::log::ChangeLog;
use super::read::{Row, Way};
use super::{StoreError, StoreOptions, Table};
use std::collections::BTreeMap;

/// Rows of one table by key; `None` is a deleted row.
pub type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing of it stays.
    Abort,
    /// Others see it; something else (the log) has it durably.
    Memory,
    /// Others see it, and it is on the disk with all that came before it.
    Durable,
}

/// Rows of one state.
pub trait ReadRows {
    /// The value at a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Rows with from <= key < to in this direction, at most `limit`. An empty `to` is no upper bound.
    fn page(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        way: Way,
    ) -> Result<Vec<Row>, StoreError>;

    /// The values at these keys, in the order of the keys.
    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// The first row of each span (from <= key < to, as of a page), in the order of the spans.
    fn first_many(&self, table: Table, spans: &[KeySpan]) -> Result<Vec<Option<Row>>, StoreError> {
        let first = |(from, to): &KeySpan| {
            let page = self.page(table, from, to, 1, Way::Up)?;
            Ok(page.into_iter().next())
        };
        spans.iter().map(first).collect()
    }
}

/// The start of some keys, and their end; an empty end is none.
pub type KeySpan = (Vec<u8>, Vec<u8>);

/// Rows under change: what is read was changed here, or is of the last commit.
pub trait WriteRows: ReadRows {
    /// Sets and removes rows; one that is to be removed may be absent.
    fn change(&self, table: Table, rows: &Rows) -> Result<(), StoreError>;
}

/// An open database.
pub trait Engine: Send + Sync + Sized + 'static {
    /// Rows as they are when a read begins.
    type Read: ReadRows;

    /// Opens the database of a data directory and its log, making or upgrading them as needed. The database holds durably all
    /// that its log had.
    fn open(options: &StoreOptions, opener: &Opener) -> Result<(Self, ChangeLog), StoreError>;

    /// Opens a database that was open before, on a disk that takes no writes, to be read: nothing on the disk changes. Of what
    /// the log alone holds it shows the batches up to `upto`.
    fn open_frozen(options: &StoreOptions, opener: &Opener, upto: u64) -> Result<Self, StoreError>;

    /// Begins a read.
    fn begin_read(&self) -> Result<Self::Read, StoreError>;

    /// One transaction: `change` runs once, and says how it ends. It is called by one thread at a time.
    fn write<T>(
        &self,
        change: impl FnOnce(&dyn WriteRows) -> Result<(T, End), StoreError>,
    ) -> Result<T, StoreError>;
}
