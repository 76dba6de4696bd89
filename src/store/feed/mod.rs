//! The feed: what became visible, in commit order, each row with its kind.
//!
//! `Txn::append` gives rows their keys inside the writer, so the order of keys is commit order and a reader that has seen a row
//! will never meet an earlier one later. A consumer keeps a cursor (the last row it is done with, [`FeedCursor`]) and moves it in
//! the same transaction as what it derives; it sleeps on [`Store::fed`](super::Store::fed). A cursor is compared and handed
//! back, and nothing else: keys may have gaps. Old rows are trimmed ([`tend`]), and a row says up to where; a consumer behind
//! that must rebuild.

mod cursor;
mod record;
mod trimming;

pub use cursor::FeedCursor;
pub use record::{FeedKind, FeedRecord};
pub use trimming::{tend, trim};

use super::key::{Key, Parts};
use super::table::{as_u64, meta};
use super::{Get, Row, StoreError, Table, Txn};

/// Tells of one thing, in the transaction that makes it visible; the row gets the request behind that, and what memory knows
/// of that thing ends with it ([`epochs`](super::epochs)).
pub fn tell(txn: &mut Txn<'_>, row: FeedRecord) -> Result<(), StoreError> {
    let cause = txn.cause();
    txn.tell(&FeedRecord { cause, ..row })
}

/// What begins the names of consumers among the cursors.
const CONSUMER: &str = "feed/";

/// A row of the feed: where it is, and its record.
pub type FeedRow = (FeedCursor, Vec<u8>);

/// One page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Rows after the cursor, in commit order.
    pub rows: Vec<FeedRow>,
    /// Where to read on: the last of these rows, or the cursor itself where there is none.
    pub next: FeedCursor,
    /// Rows that the consumer has not seen were trimmed: it must rebuild, then go on from [`last`].
    pub behind: bool,
}

/// At most `limit` rows after a cursor.
pub fn read(get: &impl Get, after: &FeedCursor, limit: usize) -> Result<Page, StoreError> {
    let behind = *after < trimmed(get)?;
    let rows = get.scan(Table::Feed, &after.next_key(), &[], limit)?;
    let rows = placed(rows)?;
    let next = rows.last().map_or(*after, |(at, _)| *at);
    Ok(Page { rows, next, behind })
}

/// At most `limit` rows before the one at a cursor, the latest first.
pub fn read_back(
    get: &impl Get,
    before: &FeedCursor,
    limit: usize,
) -> Result<Vec<FeedRow>, StoreError> {
    if before.is_start() {
        return Ok(Vec::new());
    }
    placed(get.scan_back(Table::Feed, &[], before.as_bytes(), limit)?)
}

fn placed(rows: Vec<Row>) -> Result<Vec<FeedRow>, StoreError> {
    let row = |(key, value): Row| Ok((FeedCursor::at(&key)?, value));
    rows.into_iter().map(row).collect()
}

/// Whether there are rows after a cursor.
pub fn has_after(get: &impl Get, after: &FeedCursor) -> Result<bool, StoreError> {
    let rows = get.scan(Table::Feed, &after.next_key(), &[], 1)?;
    Ok(!rows.is_empty())
}

/// Where the feed ends: at its newest row.
pub fn last(get: &impl Get) -> Result<FeedCursor, StoreError> {
    match get.scan_back(Table::Feed, &[], &[], 1)?.first() {
        Some((key, _)) => FeedCursor::at(key),
        None => trimmed(get),
    }
}

/// Up to where rows went. A database of before that was noted has its rows from its first number on, without a gap.
fn trimmed(get: &impl Get) -> Result<FeedCursor, StoreError> {
    let first = match get.get(Table::Meta, meta::FEED_TRIMMED)? {
        Some(row) => {
            return FeedCursor::of(&row)
                .ok_or_else(|| StoreError::Damaged("the feed's beginning is none".into()));
        }
        None => get.scan(Table::Feed, &[], &[], 1)?,
    };
    let first = match first.first() {
        Some((key, _)) => sequence(key)?,
        None => next(get)?,
    };
    let gone = first.saturating_sub(1).to_be_bytes();
    Ok(FeedCursor::of(&gone).unwrap_or(FeedCursor::START))
}

/// Whether nothing of the feed was trimmed.
pub fn is_whole(get: &impl Get) -> Result<bool, StoreError> {
    Ok(trimmed(get)?.is_start())
}

/// The cursor of a consumer: the last row it is done with; the start if it never was.
pub fn cursor(get: &impl Get, consumer: &str) -> Result<FeedCursor, StoreError> {
    let row = get.get(Table::Cursors, &cursor_key(consumer))?;
    FeedCursor::of(&row.unwrap_or_default())
        .ok_or_else(|| StoreError::Damaged(format!("the cursor of {consumer} is none")))
}

/// Moves the cursor of a consumer.
pub fn set_cursor(txn: &mut Txn<'_>, consumer: &str, to: &FeedCursor) -> Result<(), StoreError> {
    txn.put(Table::Cursors, &cursor_key(consumer), to.as_bytes())
}

/// The sequence that the next append gets.
pub(super) fn next(get: &impl Get) -> Result<u64, StoreError> {
    if let Some((key, _)) = get.scan_back(Table::Feed, &[], &[], 1)?.first() {
        return after(key);
    }
    match get.get(Table::Meta, meta::FEED_NEXT)? {
        Some(bytes) => as_u64(&bytes)
            .ok_or_else(|| StoreError::Damaged("the feed's next number is none".into())),
        None => Ok(1),
    }
}

/// The sequence after that of a row.
pub(super) fn after(key: &[u8]) -> Result<u64, StoreError> {
    Ok(sequence(key)?.saturating_add(1))
}

fn cursor_key(consumer: &str) -> Vec<u8> {
    Key::new().raw(CONSUMER.as_bytes()).text(consumer).done()
}

fn sequence(key: &[u8]) -> Result<u64, StoreError> {
    Parts(key)
        .u64()
        .ok_or_else(|| StoreError::Damaged("a feed key is no number".into()))
}
