//! Reading: the verbs, a read hop over the last commit, and pages merged from rows and an overlay.

use super::error::redb as redb_error;
use super::{StoreError, Table};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Reading verbs, of a read hop and of a transaction alike.
pub trait Get {
    /// Value at key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Rows with from <= key < to in this order, at most `limit`. An empty `to` means the end of the table.
    fn page(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        way: Way,
    ) -> Result<Vec<Row>, StoreError>;
    /// The same, ascending.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.page(table, from, to, limit, Way::Up)
    }
    /// The same, descending.
    fn scan_back(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.page(table, from, to, limit, Way::Down)
    }
    /// Running time in ms: monotonic, saved with commits; no clock jump moves it.
    fn running_ms(&self) -> u64;
    /// Rows that this read or change has looked at so far; a key where none is counts as one, and so does a page without rows.
    fn looked(&self) -> usize;
}

/// Counts rows that are looked at.
#[derive(Default)]
pub(super) struct Looks(Cell<usize>);

impl Looks {
    /// One row more, be it there or not.
    pub fn one(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// A page more, as it was read; none found is a look, too.
    pub fn page(&self, rows: Vec<Row>) -> Vec<Row> {
        self.0.set(self.0.get() + rows.len().max(1));
        rows
    }

    /// All so far.
    pub fn get(&self) -> usize {
        self.0.get()
    }
}

/// Which way a page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Ascending keys.
    Up,
    /// Descending keys.
    Down,
}

type Bytes = &'static [u8];

/// A read hop: everything that was acknowledged when it began, and nothing that is half done.
pub struct Read<'a> {
    txn: &'a ReadTransaction,
    tables: RefCell<BTreeMap<Table, ReadOnlyTable<Bytes, Bytes>>>,
    running_ms: u64,
    broken: Cell<bool>,
    looks: Looks,
}

impl<'a> Read<'a> {
    pub(super) fn new(txn: &'a ReadTransaction, running_ms: u64) -> Self {
        Self {
            txn,
            tables: RefCell::default(),
            running_ms,
            broken: Cell::new(false),
            looks: Looks::default(),
        }
    }

    /// Whether a read failed in a way that only opening the file again can mend.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    fn with<T>(
        &self,
        table: Table,
        f: impl FnOnce(&ReadOnlyTable<Bytes, Bytes>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tables = self.tables.borrow_mut();
        let result = match tables.entry(table) {
            Entry::Occupied(open) => f(open.get()),
            Entry::Vacant(slot) => self
                .txn
                .open_table(table.definition())
                .map_err(|e| redb_error("read", e))
                .and_then(|open| f(slot.insert(open))),
        };
        if result.as_ref().is_err_and(StoreError::breaks_file) {
            self.broken.set(true);
        }
        result
    }
}

impl Get for Read<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.looks.one();
        self.with(table, |t| value(t, key))
    }

    fn page(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        way: Way,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.with(table, |t| page(t, from, to, limit, way))?;
        Ok(self.looks.page(rows))
    }

    fn running_ms(&self) -> u64 {
        self.running_ms
    }

    fn looked(&self) -> usize {
        self.looks.get()
    }
}

/// The value at a key of a redb table.
pub(super) fn value(
    table: &impl ReadableTable<Bytes, Bytes>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let guard = table.get(key).map_err(|e| redb_error("read", e))?;
    Ok(guard.map(|v| v.value().to_vec()))
}

/// First and last key of a scan.
pub(super) type Span<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// The key bounds of a scan; `None` if no key can lie between them.
pub(super) fn bounds<'k>(from: &'k [u8], to: &'k [u8]) -> Option<Span<'k>> {
    let end = match to {
        [] => Bound::Unbounded,
        to if from >= to => return None,
        to => Bound::Excluded(to),
    };
    Some((Bound::Included(from), end))
}

/// One page of a redb table.
pub(super) fn page(
    table: &impl ReadableTable<Bytes, Bytes>,
    from: &[u8],
    to: &[u8],
    limit: usize,
    way: Way,
) -> Result<Vec<Row>, StoreError> {
    let Some(bounds) = bounds(from, to) else {
        return Ok(Vec::new());
    };
    let mut range = table
        .range::<&[u8]>(bounds)
        .map_err(|e| redb_error("read", e))?;
    let mut rows = Vec::new();
    while rows.len() < limit {
        let next = match way {
            Way::Up => range.next(),
            Way::Down => range.next_back(),
        };
        let Some(row) = next else { break };
        let (key, value) = row.map_err(|e| redb_error("read", e))?;
        rows.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(rows)
}

/// Merges a page of rows with changes laid over it; both run in the direction `way`, `None` is a deleted row. A
/// change wins over the row of its key.
pub(super) fn merge<'c>(
    rows: Vec<Row>,
    changes: impl Iterator<Item = (&'c Vec<u8>, &'c Option<Vec<u8>>)>,
    limit: usize,
    way: Way,
) -> Vec<Row> {
    let mut merged = Vec::new();
    let mut rows = rows.into_iter().peekable();
    for (key, change) in changes {
        let before = |row: &Row| match way {
            Way::Up => row.0 < *key,
            Way::Down => row.0 > *key,
        };
        while merged.len() < limit
            && let Some(row) = rows.next_if(before)
        {
            merged.push(row);
        }
        if merged.len() >= limit {
            break;
        }
        rows.next_if(|row| row.0 == *key);
        if let Some(value) = change {
            merged.push((key.clone(), value.clone()));
        }
    }
    let room = limit.saturating_sub(merged.len());
    merged.extend(rows.take(room));
    merged
}
