//! Old rows of the feed go: after some running time, behind the slowest consumer, a bounded number at a time.

use super::{CONSUMER, FeedCursor, last, trimmed};
use crate::store::key::Key;
use crate::store::table::{as_u64, meta};
use crate::store::{Get, StoreError, Table, Txn};

/// How often is noted where the feed stands (running ms), and how many notes are kept.
const NOTE: u64 = 24 * 60 * 60 * 1000;
const NOTES: usize = 64;
/// The row of the notes: running time and cursor, 8 bytes each, the oldest first.
const NOTED: &[u8] = b"feed_notes";

/// Notes where the feed stands, at most once a day of running time, and forgets rows that were there `keep` ms ago and that
/// every consumer is done with, at most `limit` of them. Answers how many went.
pub fn tend(txn: &mut Txn<'_>, keep: u64, limit: usize) -> Result<usize, StoreError> {
    let now = txn.running_ms();
    let row = txn.get(Table::Meta, NOTED)?.unwrap_or_default();
    let note = |bytes: &[u8]| Some((as_u64(bytes.get(..8)?)?, FeedCursor::of(bytes.get(8..)?)?));
    let mut notes: Vec<(u64, FeedCursor)> = row.chunks_exact(16).filter_map(note).collect();
    if notes.last().is_none_or(|(at, _)| at + NOTE <= now) {
        notes.push((now, last(txn)?));
    }
    let old = notes.iter().filter(|(at, _)| at + keep <= now);
    let Some(through) = old.map(|(_, cursor)| *cursor).max() else {
        put_notes(txn, &notes, &row)?;
        return Ok(0);
    };
    let through = slowest(txn)?.map_or(through, |slowest| slowest.min(through));
    let gone = trim(txn, &through, limit)?;
    if gone < limit {
        // A note whose rows are all gone has done its work.
        let trimmed = trimmed(txn)?;
        notes.retain(|(at, cursor)| at + keep > now || *cursor > trimmed);
    }
    put_notes(txn, &notes, &row)?;
    Ok(gone)
}

fn put_notes(
    txn: &mut Txn<'_>,
    notes: &[(u64, FeedCursor)],
    before: &[u8],
) -> Result<(), StoreError> {
    let kept = &notes[notes.len().saturating_sub(NOTES)..];
    let row: Vec<u8> = kept
        .iter()
        .flat_map(|(at, cursor)| [at.to_be_bytes(), cursor.number().to_be_bytes()].concat())
        .collect();
    if row == before {
        return Ok(());
    }
    txn.put(Table::Meta, NOTED, &row)
}

/// Consumers that are looked at.
const CONSUMERS: usize = 100;

/// The least that any consumer is done with; none without consumers.
fn slowest(get: &impl Get) -> Result<Option<FeedCursor>, StoreError> {
    let (from, to) = Key::new().raw(CONSUMER.as_bytes()).range();
    let rows = get.scan(Table::Cursors, &from, &to, CONSUMERS)?;
    Ok(rows.iter().filter_map(|(_, row)| FeedCursor::of(row)).min())
}

/// Forgets at most `limit` rows up to and including the one at `through`, and notes up to where; returns how many went. The
/// newest row stays: the next one gets its key after it.
pub fn trim(txn: &mut Txn<'_>, through: &FeedCursor, limit: usize) -> Result<usize, StoreError> {
    if through.is_start() {
        return Ok(0);
    }
    let mut rows = txn.scan(Table::Feed, &[], &through.next_key(), limit)?;
    let newest = last(txn)?;
    rows.retain(|(key, _)| key != newest.as_bytes());
    for (key, _) in &rows {
        txn.delete(Table::Feed, key)?;
    }
    if let Some((key, _)) = rows.last() {
        txn.put_own(meta::FEED_TRIMMED, key)?;
    }
    Ok(rows.len())
}
