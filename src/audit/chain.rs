//! The chain over old rows: each checkpoint hashes the one before it and the rows since, so that a row that is changed, removed or
//! put in between later is found.
//!
//! Owns making checkpoints, and dropping the oldest with their rows. What a whole chain is worth rests on its last hash, which is
//! noted outside: in the log.

use super::record::{CheckpointRecord, HeadRecord, Position};
use super::trail::{self, Trail};
use crate::store::record::Record as _;
use crate::store::{Get as _, Row, StoreError, Table, Txn};
use sha2::{Digest as _, Sha256};

/// Rows of one checkpoint, at most.
pub(super) const CHECKPOINT_ROWS: usize = 1000;

/// The hash of a checkpoint, row by row.
pub(super) struct CheckpointHash(Sha256);

impl CheckpointHash {
    /// Begins with the hash of the checkpoint before it, its number and when it is made (running time, ms).
    pub fn after(before: &[u8; 32], number: u64, made_ms: u64) -> Self {
        let hash = Sha256::new().chain_update(before);
        let hash = hash.chain_update(number.to_be_bytes());
        Self(hash.chain_update(made_ms.to_be_bytes()))
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

/// Adds one checkpoint over the rows after the last one, up to `until`. Answers how many rows that are.
pub(super) fn lengthen(
    tx: &mut Txn<'_>,
    start: [u8; 32],
    until: Position,
) -> Result<usize, StoreError> {
    let mut trail = Trail::open(tx, start)?;
    let from = match trail.head.checkpoints {
        0 => trail::all_rows().0,
        _ => trail::after(&trail::row_key(trail.head.chained)),
    };
    let to = trail::after(&trail::row_key(until));
    if from >= to {
        return Ok(0);
    }
    let rows = trail.tx.scan(Table::Audit, &from, &to, CHECKPOINT_ROWS)?;
    let Some((last, _)) = rows.last() else {
        return Ok(0);
    };
    let at = trail::position(last)?;
    let (number, made_ms) = (trail.head.checkpoints, trail.tx.running_ms());
    let mut hash = CheckpointHash::after(&trail.head.hash, number, made_ms);
    for row in &rows {
        hash.row(row);
    }
    let hash = hash.end();
    let checkpoint = CheckpointRecord {
        number,
        rows: rows.len() as u64,
        bytes: rows.iter().map(|(k, v)| trail::size(k, v)).sum(),
        made_ms,
        hash,
    };
    trail.tx.put(
        Table::Audit,
        &trail::checkpoint_key(at),
        &checkpoint.to_bytes()?,
    )?;
    trail.head.checkpoints += 1;
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

/// Drops the oldest checkpoint and its rows if they are older than is kept, or more. Answers the rows that went.
pub(super) fn shorten(
    tx: &mut Txn<'_>,
    start: [u8; 32],
    bounds: Bounds,
) -> Result<Option<u64>, StoreError> {
    let Some((at, checkpoint)) = trail::oldest_checkpoint(tx)? else {
        return Ok(None);
    };
    let mut trail = Trail::open(tx, start)?;
    let is_old = checkpoint.made_ms.saturating_add(bounds.keep_ms) <= trail.tx.running_ms();
    if !is_old && trail.head.bytes <= bounds.max_bytes {
        return Ok(None);
    }
    let (from, to) = (trail::all_rows().0, trail::after(&trail::row_key(at)));
    // Rows that somebody put in between go too, those of one transaction at a time.
    let rows = trail
        .tx
        .scan(Table::Audit, &from, &to, 4 * CHECKPOINT_ROWS)?;
    let all = rows.len() < 4 * CHECKPOINT_ROWS;
    for row in &rows {
        trail.remove(row)?;
    }
    if all {
        trail.tx.delete(Table::Audit, &trail::checkpoint_key(at))?;
        let HeadRecord {
            start,
            gone_checkpoints,
            gone_rows,
            ..
        } = &mut trail.head;
        *start = checkpoint.hash;
        *gone_checkpoints = checkpoint.number + 1;
        *gone_rows += rows.len() as u64;
    }
    trail.close()?;
    Ok(Some(rows.len() as u64))
}
