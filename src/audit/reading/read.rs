//! Reading rows of the trail by what is asked of them.
//!
//! Owns how many rows are looked at in one read. Must not change anything.

use super::view::{AuditFilter, AuditPage, AuditRow};
use crate::audit::record::{AuditRecord, Position};
use crate::audit::trail;
use crate::store::record::Record as _;
use crate::store::{Get, Row, StoreError, Table};

/// Rows that are looked at in one read.
const LOOK: usize = 2_000;

/// A search under way: read by read, so that none holds old pages of the file for long.
pub(in crate::audit) struct TrailSearch {
    filter: AuditFilter,
    limit: usize,
    /// The newest rows are wanted, and the table is read from its end.
    newest: bool,
    from: Vec<u8>,
    to: Vec<u8>,
    rows: Vec<AuditRow>,
    done: bool,
}

impl TrailSearch {
    /// For the first `limit` rows after a position, or the last ones of all.
    pub fn new(filter: AuditFilter, after: Option<Position>, limit: usize, newest: bool) -> Self {
        let (mut from, to) = trail::all_rows();
        // A row stands at its time or later.
        let since = filter.since_ms.map(|ms| Position { ms, number: 0 });
        from = from.max(since.map(trail::row_key).unwrap_or_default());
        from = from.max(after.map_or(Vec::new(), |at| trail::after(&trail::row_key(at))));
        Self {
            filter,
            limit,
            newest,
            from,
            to,
            rows: Vec::new(),
            done: false,
        }
    }

    /// Whether there is nothing more to look at.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Looks at the next rows.
    pub fn step(&mut self, get: &impl Get) -> Result<(), StoreError> {
        let found = if self.newest {
            get.scan_back(Table::Audit, &self.from, &self.to, LOOK)?
        } else {
            get.scan(Table::Audit, &self.from, &self.to, LOOK)?
        };
        for row in &found {
            if self.rows.len() == self.limit {
                break;
            }
            self.take(row)?;
        }
        match found.last() {
            _ if self.rows.len() == self.limit || found.len() < LOOK => self.done = true,
            Some((last, _)) if self.newest => self.to.clone_from(last),
            Some((last, _)) => self.from = trail::after(last),
            None => {}
        }
        Ok(())
    }

    fn take(&mut self, (key, value): &Row) -> Result<(), StoreError> {
        let at = trail::position(key)?;
        // One that cannot be read is `verify`'s to tell of; the others are shown.
        match AuditRecord::from_bytes(value) {
            Ok(row) if self.filter.takes(&row) => self.rows.push(AuditRow::of(at, row)),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(row = %at, %error, "a row of the audit trail cannot be read");
            }
        }
        Ok(())
    }

    /// What was found, the oldest first.
    pub fn page(mut self) -> AuditPage {
        let is_full = self.rows.len() == self.limit;
        if self.newest {
            self.rows.reverse();
        }
        let next = self.rows.last().map(|row| row.id);
        AuditPage {
            next: next.filter(|_| is_full && !self.newest),
            rows: self.rows,
        }
    }
}
