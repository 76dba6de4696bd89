//! The feed: what became visible, in commit order, each row with its kind.
//!
//! Keys are 8-byte sequences that only grow; `Txn::append` gives them out inside the writer, so their order is commit
//! order and a reader that has seen number N will never meet a smaller one later. A consumer keeps a cursor (the last
//! number it is done with) and moves it in the same transaction as what it derives; it sleeps on
//! [`Store::fed`](super::Store::fed). Old rows are trimmed ([`tend`]); a consumer behind the start must rebuild.

use super::cause::FeedCause;
use super::key::{Key, Parts};
use super::record::{Decode, Encode, Record, decode_body};
use super::table::{as_u64, meta};
use super::{Get, StoreError, Table, Txn};

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
/// The row of the notes: running time and sequence, 16 bytes each, the oldest first.
const NOTED: &[u8] = b"feed_notes";

/// Notes where the feed stands, at most once a day of running time, and forgets rows that were there `keep` ms ago and that
/// every consumer is done with, at most `limit` of them. Answers how many went.
pub fn tend(txn: &mut Txn<'_>, keep: u64, limit: usize) -> Result<usize, StoreError> {
    let (now, end) = (txn.running_ms(), last(txn)?);
    let row = txn.get(Table::Meta, NOTED)?.unwrap_or_default();
    let note = |bytes: &[u8]| Some((as_u64(bytes.get(..8)?)?, as_u64(bytes.get(8..)?)?));
    let mut notes: Vec<(u64, u64)> = row.chunks_exact(16).filter_map(note).collect();
    if notes.last().is_none_or(|(at, _)| at + NOTE <= now) {
        notes.push((now, end));
    }
    let old = notes.iter().filter(|(at, _)| at + keep <= now);
    let Some(through) = old.map(|(_, sequence)| *sequence).max() else {
        put_notes(txn, &notes, &row)?;
        return Ok(0);
    };
    // The newest row stays, and so does a note of it.
    let slowest = slowest(txn)?.unwrap_or(u64::MAX).min(end.saturating_sub(1));
    let gone = trim(txn, through.min(slowest), limit)?;
    if gone < limit {
        notes.retain(|(at, sequence)| at + keep > now || *sequence > slowest);
    }
    put_notes(txn, &notes, &row)?;
    Ok(gone)
}

fn put_notes(txn: &mut Txn<'_>, notes: &[(u64, u64)], before: &[u8]) -> Result<(), StoreError> {
    let kept = &notes[notes.len().saturating_sub(NOTES)..];
    let bytes = |(at, sequence): &(u64, u64)| [at.to_be_bytes(), sequence.to_be_bytes()].concat();
    let row: Vec<u8> = kept.iter().flat_map(bytes).collect();
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
fn slowest(get: &impl Get) -> Result<Option<u64>, StoreError> {
    let (from, to) = Key::new().raw(CONSUMER.as_bytes()).range();
    let rows = get.scan(Table::Cursors, &from, &to, CONSUMERS)?;
    Ok(rows.iter().filter_map(|(_, row)| as_u64(row)).min())
}

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

/// Forgets at most `limit` rows up to and including `through`; returns how many went. The newest row stays: the next one is
/// numbered after it.
pub fn trim(txn: &mut Txn<'_>, through: u64, limit: usize) -> Result<usize, StoreError> {
    let through = through.min(last(txn)?.saturating_sub(1));
    let to = Key::new().u64(through.saturating_add(1)).done();
    let rows = txn.scan(Table::Feed, &[], &to, limit)?;
    for (key, _) in &rows {
        txn.delete(Table::Feed, key)?;
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
