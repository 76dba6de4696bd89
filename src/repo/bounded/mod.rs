//! How much one read hop, or one change in the writer, looks at.
//!
//! A hop holds one of a few threads, a change holds the writer that all share: neither may look at a number of rows that
//! somebody else chooses. The store counts what is looked at; every loop over rows takes them from [`Pages`], which end
//! at [`LOOKS`], and goes on in another hop. Must not know what the rows mean.

mod long;
mod search;

pub(super) use long::LongReads;
pub use long::{Asker, LongRead};
pub(super) use search::{Rest, Search, What};

use crate::store::{Get, Row, StoreError, Table};

/// Rows that one hop or one change looks at, about: what it does beside its loop comes to a few more.
pub(super) const LOOKS: usize = 2000;
/// Rows in memory at once.
const BATCH: usize = 500;

/// How many rows this hop or change may still look at.
pub(super) fn left(get: &impl Get) -> usize {
    LOOKS.saturating_sub(get.looked())
}

/// Whether this change has looked at so much that another piece of work, which may look at half of [`LOOKS`], belongs into
/// the next one.
pub(super) fn is_spent(get: &impl Get) -> bool {
    left(get) < LOOKS / 2
}

/// A range of rows on its way from hop to hop.
#[derive(Debug, Clone)]
pub(super) struct Pages {
    table: Table,
    from: Vec<u8>,
    to: Vec<u8>,
    ended: bool,
}

/// The next rows of a range.
pub(super) enum Next {
    /// At least one row; all of them can be dealt with in this hop.
    Rows(Vec<Row>),
    /// This hop has looked at enough: the range goes on in another.
    Spent,
    /// There are no more.
    End,
}

impl Pages {
    /// The rows with from <= key < to; an empty `to` means the end of the table.
    pub fn new(table: Table, (from, to): (Vec<u8>, Vec<u8>)) -> Self {
        Self {
            table,
            from,
            to,
            ended: false,
        }
    }

    /// The next rows, of which each costs up to `more` looks beside its own.
    pub fn next(&mut self, get: &impl Get, more: usize) -> Result<Next, StoreError> {
        let limit = BATCH.min(left(get) / (1 + more));
        self.page(get, limit)
    }

    /// The next rows, each of which may be large: at most `limit`, which cost nothing beside.
    pub fn some(&mut self, get: &impl Get, limit: usize) -> Result<Next, StoreError> {
        self.page(get, limit.min(left(get)))
    }

    fn page(&mut self, get: &impl Get, limit: usize) -> Result<Next, StoreError> {
        if self.ended {
            return Ok(Next::End);
        }
        if limit == 0 {
            return Ok(Next::Spent);
        }
        let rows = get.scan(self.table, &self.from, &self.to, limit)?;
        self.ended = rows.len() < limit;
        match rows.last() {
            Some((last, _)) => {
                self.from.clone_from(last);
                self.from.push(0);
                Ok(Next::Rows(rows))
            }
            None => Ok(Next::End),
        }
    }

    /// Goes on at this key, if that is further on.
    pub fn skip_to(&mut self, key: Vec<u8>) {
        if key > self.from {
            self.from = key;
        }
    }

    /// Has this row read again in the next hop, with all that follow.
    pub fn back_to(&mut self, key: Vec<u8>) {
        self.from = key;
        self.ended = false;
    }

    /// The range may have got more rows since its end was read.
    pub fn go_on_after_end(&mut self) {
        self.ended = false;
    }

    /// Whether all rows were read.
    pub fn ended(&self) -> bool {
        self.ended
    }
}
