//! The feed: what became visible, in commit order, each row with its kind.
//!
//! `Txn::append` gives rows their keys inside the writer, so the order of keys is commit order and a reader that has seen a row
//! will never meet an earlier one later. A consumer keeps a cursor (the last row it is done with, [`FeedCursor`]) and moves it in
//! the same transaction as what it derives; it sleeps on [`Store::fed`](super::Store::fed). A cursor is compared and handed
//! back, and nothing else: keys may have gaps. Old rows are trimmed ([`tend`]), and a row says up to where; a consumer behind
//! that must rebuild.

use super::cause::FeedCause;
use super::key::{Key, Parts};
use super::record::{Decode, Encode, Record, decode_body};
use super::table::{as_u64, meta};
use super::{Get, Row, StoreError, Table, Txn};

/// What sort of thing became visible. The codes stand in rows and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedKind {
    /// A revision of a repository.
    Revision = 0,
    /// A repository was made.
    RepoMade = 1,
    /// A repository was deleted.
    RepoDeleted = 2,
    /// Settings of a repository changed.
    RepoSet = 3,
    /// A snapshot of a repository was made, changed or deleted; the name is `REPOSITORY@TITLE`.
    Snapshot = 4,
    /// An account was made, changed or removed; the name is its own.
    Account = 5,
    /// A setting of the whole registry changed: a quota, whose prefix is the name.
    Setting = 6,
    /// A job was made, told to end or begun again by somebody; the name is its number.
    Job = 7,
    /// A schedule of jobs was made or removed; the name is its number.
    Schedule = 8,
    /// A client had a repository show a blob no more; the name is `REPOSITORY@DIGEST`.
    Blob = 9,
}

impl FeedKind {
    const ALL: [Self; 10] = [
        Self::Revision,
        Self::RepoMade,
        Self::RepoDeleted,
        Self::RepoSet,
        Self::Snapshot,
        Self::Account,
        Self::Setting,
        Self::Job,
        Self::Schedule,
        Self::Blob,
    ];

    /// The kind of a code; none for one that this version does not know.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// One thing that became visible, for whoever follows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FeedRecord {
    /// A code of [`FeedKind`].
    pub kind: u8,
    /// The repository's id; 0 if it is about none.
    pub repo: u64,
    /// Its name, or that of what it is about.
    pub name: String,
    /// The repository's revision.
    pub rev: u64,
    /// Wall clock, ms.
    pub at_ms: u64,
    /// Who.
    pub who: String,
    /// Why: the action's name.
    pub why: String,
    /// The request behind it; [`tell`] sets it.
    pub cause: FeedCause,
}

impl Record for FeedRecord {
    const NAME: &'static str = "feed";
    const VERSION: u8 = 3;

    fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, StoreError>> {
        match version {
            1 => Some(decode_body::<FeedRecordV1>(Self::NAME, body).map(Self::from)),
            2 => Some(decode_body::<FeedRecordV2>(Self::NAME, body).map(Self::from)),
            _ => None,
        }
    }
}

/// [`FeedRecord`] as of version 2: without the request behind it.
#[derive(Decode)]
struct FeedRecordV2 {
    kind: u8,
    repo: u64,
    name: String,
    rev: u64,
    at_ms: u64,
    who: String,
    why: String,
}

impl From<FeedRecordV2> for FeedRecord {
    fn from(old: FeedRecordV2) -> Self {
        Self {
            kind: old.kind,
            repo: old.repo,
            name: old.name,
            rev: old.rev,
            at_ms: old.at_ms,
            who: old.who,
            why: old.why,
            cause: FeedCause::None,
        }
    }
}

/// [`FeedRecord`] as of version 1: it told of revisions alone.
#[derive(Decode)]
struct FeedRecordV1 {
    repo: u64,
    name: String,
    rev: u64,
    at_ms: u64,
    who: String,
    why: String,
}

impl From<FeedRecordV1> for FeedRecord {
    fn from(old: FeedRecordV1) -> Self {
        Self {
            kind: FeedKind::Revision as u8,
            repo: old.repo,
            name: old.name,
            rev: old.rev,
            at_ms: old.at_ms,
            who: old.who,
            why: old.why,
            cause: FeedCause::None,
        }
    }
}

impl FeedRecord {
    /// Whether it tells of a revision of this repository.
    pub fn is_revision_of(&self, repo: u64) -> bool {
        self.kind == FeedKind::Revision as u8 && self.repo == repo
    }
}

/// Tells of one thing, in the transaction that makes it visible; the row gets the request behind that.
pub fn tell(txn: &mut Txn<'_>, row: FeedRecord) -> Result<(), StoreError> {
    let cause = txn.cause();
    txn.append(&FeedRecord { cause, ..row }.to_bytes()?)
}

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

/// What begins the names of consumers among the cursors.
const CONSUMER: &str = "feed/";
/// Consumers that are looked at.
const CONSUMERS: usize = 100;

/// The least that any consumer is done with; none without consumers.
fn slowest(get: &impl Get) -> Result<Option<FeedCursor>, StoreError> {
    let (from, to) = Key::new().raw(CONSUMER.as_bytes()).range();
    let rows = get.scan(Table::Cursors, &from, &to, CONSUMERS)?;
    Ok(rows.iter().filter_map(|(_, row)| FeedCursor::of(row)).min())
}

/// The longest cursor in bytes.
const CURSOR: usize = 16;

/// A place in the feed: everything up to a row, that row included. Of two, the greater is later. What its bytes are is the
/// store's own affair; a feed of another engine may have other ones, with gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedCursor {
    // The order of the fields is the order of the bytes: those behind the end are 0.
    bytes: [u8; CURSOR],
    len: u8,
}

impl FeedCursor {
    /// Before every row.
    pub const START: Self = Self {
        bytes: [0; CURSOR],
        len: 0,
    };

    /// Of its bytes; none if they are too many. (An older program wrote the start as the number 0.)
    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.iter().all(|byte| *byte == 0) {
            return (bytes.len() <= CURSOR).then_some(Self::START);
        }
        let mut cursor = Self::START;
        cursor.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        cursor.len = bytes.len() as u8;
        Some(cursor)
    }

    /// At the row of this key.
    fn at(key: &[u8]) -> Result<Self, StoreError> {
        sequence(key)?;
        Self::of(key).ok_or_else(|| StoreError::Damaged("a feed key is too long".into()))
    }

    /// Whether it is before every row.
    pub fn is_start(&self) -> bool {
        self.len == 0
    }

    /// The bytes by which it is kept: at most 16.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The least key after it.
    fn next_key(&self) -> Vec<u8> {
        if self.is_start() {
            return Vec::new();
        }
        [self.as_bytes(), &[0]].concat()
    }

    /// The number that this engine's rows have; 0 at the start.
    fn number(&self) -> u64 {
        Parts(self.as_bytes()).u64().unwrap_or(0)
    }
}

/// In hexadecimal digits.
impl std::fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for FeedCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FeedCursor({self})")
    }
}

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

#[cfg(test)]
mod golden_tests {
    use super::*;
    use crate::store::record::golden;

    #[test]
    fn golden_feed() {
        let row = |kind| FeedRecord {
            kind,
            repo: 3,
            name: "team/app".into(),
            rev: 12,
            at_ms: 1_700_000_000_000,
            who: "ci".into(),
            why: "manifest.put".into(),
            cause: FeedCause::None,
        };
        golden::check(&FeedRecord {
            cause: FeedCause::Words(b"words".into()),
            ..row(FeedKind::Job as u8)
        });
        golden::check_old(2, &row(FeedKind::Snapshot as u8));
        golden::check_old(1, &row(FeedKind::Revision as u8));
        for kind in FeedKind::ALL {
            assert_eq!(FeedKind::of(kind as u8), Some(kind));
        }
    }
}
