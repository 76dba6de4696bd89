//! The rows of the trail, written in somebody's transaction: where the next one stands, and how many there are.
//!
//! Owns the keys of the table. Must not decide what is written.

use super::record::{AuditRecord, CheckpointRecord, HeadRecord, Position};
use crate::store::key::{Key, Parts};
use crate::store::record::Record as _;
use crate::store::{Get, Row, StoreError, Table, Txn};

const ROW: u8 = 0;
const CHECKPOINT: u8 = 1;
const HEAD: u8 = 2;

/// The key of a row.
pub(super) fn row_key(at: Position) -> Vec<u8> {
    key(ROW, at)
}

/// The key of the checkpoint whose last row stands there.
pub(super) fn checkpoint_key(at: Position) -> Vec<u8> {
    key(CHECKPOINT, at)
}

fn key(what: u8, at: Position) -> Vec<u8> {
    let key = Key::new().u8(what).u64(at.ms);
    key.raw(&at.number.to_be_bytes()).done()
}

/// The keys of all rows, from the first to before the end.
pub(super) fn all_rows() -> (Vec<u8>, Vec<u8>) {
    Key::new().u8(ROW).range()
}

/// The keys of all checkpoints.
pub(super) fn all_checkpoints() -> (Vec<u8>, Vec<u8>) {
    Key::new().u8(CHECKPOINT).range()
}

/// What comes right after a key.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Where the row or the last row of the checkpoint with this key stands.
pub(super) fn position(key: &[u8]) -> Result<Position, StoreError> {
    let mut parts = Parts(key);
    let read = (parts.u8(), parts.u64(), parts.raw(4));
    let number = |raw: &[u8]| raw.try_into().ok().map(u32::from_be_bytes);
    match read {
        (Some(ROW | CHECKPOINT), Some(ms), Some(raw)) if parts.rest().is_empty() => {
            number(raw).map(|number| Position { ms, number })
        }
        _ => None,
    }
    .ok_or_else(|| StoreError::Damaged("a key of the audit trail is no position".into()))
}

/// The head; none before the first row.
pub(super) fn head(get: &impl Get) -> Result<Option<HeadRecord>, StoreError> {
    let row = get.get(Table::Audit, &[HEAD])?;
    row.map(|row| HeadRecord::from_bytes(&row)).transpose()
}

/// The oldest checkpoint.
pub(super) fn oldest_checkpoint(
    get: &impl Get,
) -> Result<Option<(Position, CheckpointRecord)>, StoreError> {
    let (from, to) = all_checkpoints();
    let checkpoints = get.scan(Table::Audit, &from, &to, 1)?;
    checkpoints.first().map(checkpoint).transpose()
}

/// A checkpoint and where its last row stands.
pub(super) fn checkpoint((key, value): &Row) -> Result<(Position, CheckpointRecord), StoreError> {
    Ok((position(key)?, CheckpointRecord::from_bytes(value)?))
}

/// The position of the last row.
pub(super) fn last(get: &impl Get) -> Result<Option<Position>, StoreError> {
    let (from, to) = all_rows();
    let rows = get.scan_back(Table::Audit, &from, &to, 1)?;
    rows.first().map(|(key, _)| position(key)).transpose()
}

/// Bytes that a row counts for.
pub(super) fn size(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// The trail in a transaction. Its changes count once [`Trail::close`] was called.
pub(super) struct Trail<'t, 'a> {
    pub tx: &'t mut Txn<'a>,
    pub head: HeadRecord,
    /// Where the last row stands; the next one stands after it.
    last: Option<Position>,
}

impl<'t, 'a> Trail<'t, 'a> {
    /// Opens it; one that is not there begins with `start`.
    pub fn open(tx: &'t mut Txn<'a>, start: [u8; 32]) -> Result<Self, StoreError> {
        let head = head(tx)?.unwrap_or(HeadRecord {
            start,
            gone_checkpoints: 0,
            gone_rows: 0,
            checkpoints: 0,
            hash: start,
            chained: Position::default(),
            rows: 0,
            bytes: 0,
        });
        // Of rows that are gone the last chained one is known.
        let chained = Some(head.chained).filter(|_| head.checkpoints > 0);
        let last = last(tx)?.max(chained);
        Ok(Self { tx, head, last })
    }

    /// Adds a row after all others: who has read up to some position finds all that is new behind it.
    pub fn add(&mut self, row: &AuditRecord) -> Result<Position, StoreError> {
        let at = self.place(row.at_ms);
        let (key, value) = (row_key(at), row.to_bytes()?);
        self.tx.put(Table::Audit, &key, &value)?;
        self.head.rows += 1;
        self.head.bytes += size(&key, &value);
        Ok(at)
    }

    fn place(&mut self, ms: u64) -> Position {
        let first = |ms| Position { ms, number: 0 };
        let at = match self.last {
            Some(last) if last.ms >= ms => match last.number.checked_add(1) {
                Some(number) => Position { number, ..last },
                None => first(last.ms.saturating_add(1)),
            },
            _ => first(ms),
        };
        self.last = Some(at);
        at
    }

    /// Writes a row again, unless it is chained or gone. Answers whether it did.
    pub fn set(&mut self, at: Position, row: &AuditRecord) -> Result<bool, StoreError> {
        let key = row_key(at);
        let is_chained = self.head.checkpoints > 0 && at <= self.head.chained;
        let old = self.tx.get(Table::Audit, &key)?;
        let Some(old) = old.filter(|_| !is_chained) else {
            return Ok(false);
        };
        let value = row.to_bytes()?;
        self.tx.put(Table::Audit, &key, &value)?;
        self.head.bytes = self.head.bytes.saturating_sub(size(&key, &old)) + size(&key, &value);
        Ok(true)
    }

    /// Takes a row away.
    pub fn remove(&mut self, (key, value): &Row) -> Result<(), StoreError> {
        self.tx.delete(Table::Audit, key)?;
        self.head.rows = self.head.rows.saturating_sub(1);
        self.head.bytes = self.head.bytes.saturating_sub(size(key, value));
        Ok(())
    }

    /// Writes the head.
    pub fn close(self) -> Result<(), StoreError> {
        self.tx.put(Table::Audit, &[HEAD], &self.head.to_bytes()?)
    }
}
