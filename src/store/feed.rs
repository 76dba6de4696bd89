//! The feed: what became visible, in commit order.
//!
//! Keys are 8-byte sequences that only grow; `Txn::append` gives them out inside the writer, so their order is commit
//! order and a reader that has seen number N will never meet a smaller one later. A consumer keeps a cursor (the last
//! number it is done with) and moves it in the same transaction as what it derives. Old rows are trimmed; a consumer
//! behind the start must rebuild.

use super::key::{Key, Parts};
use super::table::{as_u64, meta};
use super::{Get, StoreError, Table, Txn};

/// One page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Rows after the cursor: sequence and value, ascending.
    pub rows: Vec<(u64, Vec<u8>)>,
    /// Rows that the consumer has not seen were trimmed: it must rebuild, then go on from [`last`].
    pub behind: bool,
}

/// At most `limit` rows after sequence `after` (0: from the beginning).
pub fn read(get: &impl Get, after: u64, limit: usize) -> Result<Page, StoreError> {
    let first = match get.scan(Table::Feed, &[], &[], 1)?.first() {
        Some((key, _)) => sequence(key)?,
        None => next(get)?,
    };
    let from = Key::new().u64(after.saturating_add(1)).done();
    let rows = get
        .scan(Table::Feed, &from, &[], limit)?
        .into_iter()
        .map(|(key, value)| Ok((sequence(&key)?, value)))
        .collect::<Result<_, StoreError>>()?;
    Ok(Page {
        rows,
        behind: after.saturating_add(1) < first,
    })
}

/// The last sequence given out; 0 before the first.
pub fn last(get: &impl Get) -> Result<u64, StoreError> {
    Ok(next(get)?.saturating_sub(1))
}

/// The cursor of a consumer: the last sequence it is done with; 0 if it never was.
pub fn cursor(get: &impl Get, consumer: &str) -> Result<u64, StoreError> {
    match get.get(Table::Cursors, &cursor_key(consumer))? {
        Some(bytes) => as_u64(&bytes)
            .ok_or_else(|| StoreError::Damaged(format!("the cursor of {consumer} is no number"))),
        None => Ok(0),
    }
}

/// Moves the cursor of a consumer.
pub fn set_cursor(txn: &mut Txn<'_>, consumer: &str, sequence: u64) -> Result<(), StoreError> {
    txn.put(
        Table::Cursors,
        &cursor_key(consumer),
        &sequence.to_be_bytes(),
    )
}

/// Forgets at most `limit` rows up to and including `through`; returns how many went.
pub fn trim(txn: &mut Txn<'_>, through: u64, limit: usize) -> Result<usize, StoreError> {
    let to = Key::new().u64(through.saturating_add(1)).done();
    let rows = txn.scan(Table::Feed, &[], &to, limit)?;
    for (key, _) in &rows {
        txn.delete(Table::Feed, key)?;
    }
    Ok(rows.len())
}

/// The sequence that the next append gets.
pub(super) fn next(get: &impl Get) -> Result<u64, StoreError> {
    match get.get(Table::Meta, meta::FEED_NEXT)? {
        Some(bytes) => as_u64(&bytes)
            .ok_or_else(|| StoreError::Damaged("the feed's next number is none".into())),
        None => Ok(1),
    }
}

fn cursor_key(consumer: &str) -> Vec<u8> {
    Key::new().text(consumer).done()
}

fn sequence(key: &[u8]) -> Result<u64, StoreError> {
    Parts(key)
        .u64()
        .ok_or_else(|| StoreError::Damaged("a feed key is no number".into()))
}
