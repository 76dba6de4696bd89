//! The engine: redb, and only here.
//!
//! Owns `DIR/meta.redb`: opening, upgrading, copying and shortening it, and redb's side of each promise of
//! [`engine`](super::engine). Knows no lane, no overlay and no feed.

mod compact;
mod copy;
mod error;
mod file;
mod rows;
pub(super) mod upgrade;

pub(super) use compact::compact;
#[cfg(test)]
pub(super) use upgrade::open_as;
pub(super) use upgrade::{FILE, versions_of};

use super::disk::Opener;
use super::engine::{End, Engine, KeySpan, ReadRows, Rows, WriteRows};
use super::log::ChangeLog;
use super::read::{Row, Way};
use super::{StoreError, StoreOptions, Table};
use error::redb as redb_error;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, WriteTransaction};
use rows::{Bytes, definition};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// An open `meta.redb`.
pub struct Redb {
    db: Database,
}

impl Redb {
    fn new(db: Database) -> Self {
        Self { db }
    }
}

impl Engine for Redb {
    type Read = Snapshot;

    fn open(options: &StoreOptions, opener: &Opener) -> Result<(Self, ChangeLog), StoreError> {
        upgrade::open(options, opener)
    }

    fn open_frozen(options: &StoreOptions, opener: &Opener, upto: u64) -> Result<Self, StoreError> {
        upgrade::open_frozen(options, opener, upto)
    }

    fn begin_read(&self) -> Result<Snapshot, StoreError> {
        let txn = self.db.begin_read().map_err(|e| redb_error("read", e))?;
        Ok(Snapshot {
            txn,
            tables: RefCell::default(),
        })
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&dyn WriteRows) -> Result<(T, End), StoreError>,
    ) -> Result<T, StoreError> {
        let mut txn = begin_write(&self.db)?;
        // Its tables are closed before it ends.
        let (value, end) = change(&Open::of(&txn))?;
        if end == End::Abort {
            txn.abort().map_err(|e| redb_error("end a change", e))?;
            return Ok(value);
        }
        if end == End::Memory {
            txn.set_durability(redb::Durability::None)
                .map_err(|e| redb_error("end a change", e))?;
        }
        txn.commit().map_err(|e| redb_error("commit", e))?;
        Ok(value)
    }
}

/// A durable write transaction that makes the next start quick.
fn begin_write(db: &Database) -> Result<WriteTransaction, StoreError> {
    let mut txn = db
        .begin_write()
        .map_err(|e| redb_error("begin a change", e))?;
    txn.set_durability(redb::Durability::Immediate)
        .map_err(|e| redb_error("begin a change", e))?;
    txn.set_quick_repair(true);
    Ok(txn)
}

/// A read transaction and its open tables.
pub struct Snapshot {
    txn: ReadTransaction,
    /// `None`: there is no such table yet, so it has no rows.
    tables: RefCell<BTreeMap<Table, Option<ReadOnlyTable<Bytes, Bytes>>>>,
}

impl Snapshot {
    fn with<T: Default>(
        &self,
        table: Table,
        f: impl FnOnce(&ReadOnlyTable<Bytes, Bytes>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tables = self.tables.borrow_mut();
        let open = match tables.entry(table) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(slot) => slot.insert(match self.txn.open_table(definition(table)) {
                Err(redb::TableError::TableDoesNotExist(_)) => None,
                other => Some(other.map_err(|e| redb_error("read", e))?),
            }),
        };
        open.as_ref().map_or_else(|| Ok(T::default()), f)
    }
}

impl ReadRows for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(table, |open| rows::value(open, key))
    }

    fn page(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        way: Way,
    ) -> Result<Vec<Row>, StoreError> {
        self.with(table, |open| rows::page(open, from, to, limit, way))
    }

    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut found = self.with(table, |open| rows::values(open, keys))?;
        found.resize(keys.len(), None);
        Ok(found)
    }

    fn first_many(&self, table: Table, spans: &[KeySpan]) -> Result<Vec<Option<Row>>, StoreError> {
        let mut found = self.with(table, |open| rows::firsts(open, spans))?;
        found.resize(spans.len(), None);
        Ok(found)
    }
}

type OpenTable<'t> = redb::Table<'t, Bytes, Bytes>;

/// A write transaction's open tables: they stay so until this is dropped.
struct Open<'t> {
    txn: &'t WriteTransaction,
    tables: RefCell<BTreeMap<Table, OpenTable<'t>>>,
}

impl<'t> Open<'t> {
    fn of(txn: &'t WriteTransaction) -> Self {
        let tables = RefCell::default();
        Self { txn, tables }
    }

    fn with<T>(
        &self,
        table: Table,
        f: impl FnOnce(&mut OpenTable<'t>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tables = self.tables.borrow_mut();
        match tables.entry(table) {
            Entry::Occupied(mut open) => f(open.get_mut()),
            Entry::Vacant(slot) => {
                let open = self.txn.open_table(definition(table));
                f(slot.insert(open.map_err(|e| redb_error("write", e))?))
            }
        }
    }
}

impl ReadRows for Open<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(table, |open| rows::value(open, key))
    }

    fn page(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        way: Way,
    ) -> Result<Vec<Row>, StoreError> {
        self.with(table, |open| rows::page(open, from, to, limit, way))
    }

    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.with(table, |open| rows::values(open, keys))
    }

    fn first_many(&self, table: Table, spans: &[KeySpan]) -> Result<Vec<Option<Row>>, StoreError> {
        self.with(table, |open| rows::firsts(open, spans))
    }
}

impl WriteRows for Open<'_> {
    fn change(&self, table: Table, rows: &Rows) -> Result<(), StoreError> {
        self.with(table, |open| {
            for (key, change) in rows {
                match change {
                    Some(value) => open.insert(key.as_slice(), value.as_slice()),
                    None => open.remove(key.as_slice()),
                }
                .map(drop)
                .map_err(|e| redb_error("write", e))?;
            }
            Ok(())
        })
    }
}
