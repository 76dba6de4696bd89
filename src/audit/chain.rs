//! The chain over old rows: each link hashes the link before it and the rows since, so that a row that is changed, removed or
//! put in between later is found.
//!
//! Owns making links, and dropping the oldest with their rows. What a whole chain is worth rests on its last hash, which is
//! noted outside: in the log.

use super::record::{HeadRecord, LinkRecord, Position};
use super::trail::{self, Trail};
use crate::store::record::Record as _;
use crate::store::{Get as _, Row, StoreError, Table, Txn};
use sha2::{Digest as _, Sha256};

/// Rows of one link, at most.
pub(super) const LINK_ROWS: usize = 1000;

/// The hash of a link, row by row.
pub(super) struct LinkHash(Sha256);

impl LinkHash {
    /// Begins with the hash of the link before it.
    pub fn after(before: &[u8; 32]) -> Self {
        Self(Sha256::new().chain_update(before))
    }

    /// The next row: its lengths go in before its bytes, or two rows could be read as one.
    pub fn row(&mut self, (key, value): &Row) {
        for part in [key, value] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    /// The hash.
    pub fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Adds one link over the rows after the last one, up to `until`. Answers how many rows that are.
pub(super) fn lengthen(
    tx: &mut Txn<'_>,
    start: [u8; 32],
    until: Position,
) -> Result<usize, StoreError> {
    let mut trail = Trail::open(tx, start)?;
    let from = match trail.head.links {
        0 => trail::all_rows().0,
        _ => trail::after(&trail::row_key(trail.head.chained)),
    };
    let to = trail::after(&trail::row_key(until));
    if from >= to {
        return Ok(0);
    }
    let rows = trail.tx.scan(Table::Audit, &from, &to, LINK_ROWS)?;
    let Some((last, _)) = rows.last() else {
        return Ok(0);
    };
    let at = trail::position(last)?;
    let mut hash = LinkHash::after(&trail.head.hash);
    for row in &rows {
        hash.row(row);
    }
    let hash = hash.end();
    let link = LinkRecord {
        number: trail.head.links,
        rows: rows.len() as u64,
        bytes: rows.iter().map(|(k, v)| trail::size(k, v)).sum(),
        made_ms: trail.tx.running_ms(),
        hash,
    };
    trail
        .tx
        .put(Table::Audit, &trail::link_key(at), &link.to_bytes()?)?;
    trail.head.links += 1;
    (trail.head.hash, trail.head.chained) = (hash, at);
    trail.close()?;
    Ok(rows.len())
}

/// What is kept of the trail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// For how long (running time, ms).
    pub keep_ms: u64,
    /// How many bytes of keys and values.
    pub max_bytes: u64,
}

/// Drops the oldest link and its rows if they are older than is kept, or more. Answers the rows that went.
pub(super) fn shorten(
    tx: &mut Txn<'_>,
    start: [u8; 32],
    bounds: Bounds,
) -> Result<Option<u64>, StoreError> {
    let Some((at, link)) = trail::oldest_link(tx)? else {
        return Ok(None);
    };
    let mut trail = Trail::open(tx, start)?;
    let is_old = link.made_ms.saturating_add(bounds.keep_ms) <= trail.tx.running_ms();
    if !is_old && trail.head.bytes <= bounds.max_bytes {
        return Ok(None);
    }
    let (from, to) = (trail::all_rows().0, trail::after(&trail::row_key(at)));
    // Rows that somebody put in between go too, those of one transaction at a time.
    let rows = trail.tx.scan(Table::Audit, &from, &to, 4 * LINK_ROWS)?;
    let all = rows.len() < 4 * LINK_ROWS;
    for row in &rows {
        trail.remove(row)?;
    }
    if all {
        trail.tx.delete(Table::Audit, &trail::link_key(at))?;
        let HeadRecord {
            start,
            gone_links,
            gone_rows,
            ..
        } = &mut trail.head;
        *start = link.hash;
        *gone_links = link.number + 1;
        *gone_rows += rows.len() as u64;
    }
    trail.close()?;
    Ok(Some(rows.len() as u64))
}
