//! Reading: the verbs, a read hop over the last commit, and pages merged from rows and an overlay.

use crate::store::engine::{Engine, KeySpan, ReadRows};
use crate::store::{Backend, StoreError, Table};
use std::cell::Cell;
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
    /// The values at these keys, in the order of the keys: for loops that would ask key by key.
    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;
    /// The first row of each span (from <= key < to, as of a page), in the order of the spans.
    fn first_many(&self, table: Table, spans: &[KeySpan]) -> Result<Vec<Option<Row>>, StoreError>;
    /// Running time in ms: monotonic, saved with commits; no clock jump moves it.
    fn running_ms(&self) -> u64;
    /// Rows that this read or change has looked at so far; a key where none is counts as one, and so does a page without rows.
    fn looked(&self) -> usize;
}

/// Counts rows that are looked at.
#[derive(Default)]
pub(in crate::store) struct Looks(Cell<usize>);

impl Looks {
    /// One row more, be it there or not.
    pub fn one(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// So many rows more, be they there or not.
    pub fn many(&self, rows: usize) {
        self.0.set(self.0.get() + rows);
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

/// A read hop: everything that was acknowledged when it began, and nothing that is half done.
pub struct Read<'a, R = <Backend as Engine>::Read> {
    rows: &'a R,
    running_ms: u64,
    broken: Cell<bool>,
    looks: Looks,
}

impl<'a, R: ReadRows> Read<'a, R> {
    pub(in crate::store) fn new(rows: &'a R, running_ms: u64) -> Self {
        Self {
            rows,
            running_ms,
            broken: Cell::new(false),
            looks: Looks::default(),
        }
    }

    /// Whether a read failed in a way that only opening the file again can mend.
    pub(in crate::store) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(StoreError::breaks_file) {
            self.broken.set(true);
        }
        result
    }
}

impl<R: ReadRows> Get for Read<'_, R> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.looks.one();
        self.noted(self.rows.get(table, key))
    }

    fn page(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
        way: Way,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.noted(self.rows.page(table, from, to, limit, way))?;
        Ok(self.looks.page(rows))
    }

    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.looks.many(keys.len());
        self.noted(self.rows.get_many(table, keys))
    }

    fn first_many(&self, table: Table, spans: &[KeySpan]) -> Result<Vec<Option<Row>>, StoreError> {
        self.looks.many(spans.len());
        self.noted(self.rows.first_many(table, spans))
    }

    fn running_ms(&self) -> u64 {
        self.running_ms
    }

    fn looked(&self) -> usize {
        self.looks.get()
    }
}

/// First and last key of a scan.
pub(in crate::store) type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// The key bounds of a scan; `None` if no key can lie between them.
pub(in crate::store) fn bounds<'k>(from: &'k [u8], to: &'k [u8]) -> Option<Bounds<'k>> {
    let end = match to {
        [] => Bound::Unbounded,
        to if from >= to => return None,
        to => Bound::Excluded(to),
    };
    Some((Bound::Included(from), end))
}

/// Merges a page of rows with changes laid over it; both run in the direction `way`, `None` is a deleted row. A
/// change wins over the row of its key.
pub(in crate::store) fn merge<'c>(
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
