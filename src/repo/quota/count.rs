//! What a quota counts, in the transaction that changes it.
//!
//! For each (prefix, digest) two counts are kept: how often repositories below the prefix *show* the digest (by a link, and
//! as a live manifest), and how many of them *keep* it (by any link, tag or manifest, live or past: what keeps the bytes
//! from the collector). A digest that is shown counts once as shown, one that is kept and not shown once as history. Each
//! change costs a few look-ups, whatever names the digest: whether one repository keeps it is one seek.

use super::pass::is_ahead;
use super::{any, holders_key, key, prefixes, quota};
use crate::repo::error::RepoError;
use crate::repo::rows;
use crate::repo::rows::keys;
use crate::repo::rows::record::{QuotaRecord, RepoRecord};
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, RepoId};

/// How repositories below a prefix have a digest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::repo) struct Counts {
    /// How often they show it.
    pub shown: u64,
    /// How many of them keep it.
    pub held: u64,
}

impl Counts {
    /// Of a row; a shorter one is of before the history counted.
    pub fn of_row(row: &[u8]) -> Self {
        let (shown, held) = row.split_at_checked(8).unwrap_or((row, &[]));
        Self {
            shown: rows::number(shown),
            held: rows::number(held),
        }
    }

    /// The row; none if there is nothing to say.
    pub fn to_row(self) -> Option<Vec<u8>> {
        let bytes = [self.shown.to_be_bytes(), self.held.to_be_bytes()].concat();
        (self != Self::default()).then_some(bytes)
    }

    /// The bytes, of `size`, that count as shown and as history.
    pub fn bytes(self, size: u64) -> (u64, u64) {
        match self {
            Self { shown: 1.., .. } => (size, 0),
            Self { held: 1.., .. } => (0, size),
            _ => (0, 0),
        }
    }

    fn plus(self, (shown, held): (i64, i64)) -> Self {
        Self {
            shown: self.shown.saturating_add_signed(shown),
            held: self.held.saturating_add_signed(held),
        }
    }
}

pub(super) fn counts(get: &impl Get, prefix: &str, digest: &Digest) -> Result<Counts, StoreError> {
    let row = get.get(Table::QuotaHolders, &holders_key(prefix, digest))?;
    Ok(row.map_or_else(Counts::default, |row| Counts::of_row(&row)))
}

pub(super) fn set_counts(
    tx: &mut Txn<'_>,
    prefix: &str,
    digest: &Digest,
    counts: Counts,
) -> Result<(), StoreError> {
    let key = holders_key(prefix, digest);
    match counts.to_row() {
        None => tx.delete(Table::QuotaHolders, &key),
        Some(row) => tx.put(Table::QuotaHolders, &key, &row),
    }
}

/// Why a quota has no room for a digest.
enum Refusal {
    Shown { needed: u64, free: u64 },
    History { kept: u64, bound: u64 },
}

/// The repository shows the digest once more, by the reference at `by`, which is written. Refused where a quota has no
/// room for it.
pub(in crate::repo) fn gain(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
    by: &[u8],
) -> Result<(), RepoError> {
    if !any(tx)? {
        return Ok(());
    }
    let (from, to) = holding(digest, id);
    let refs = tx.scan(Table::Refs, &from, &to, 2)?;
    let was_held = refs.iter().any(|(key, _)| key != by);
    match shift(tx, id, digest, size, (1, i64::from(!was_held)), false)? {
        None => Ok(()),
        Some((prefix, Refusal::Shown { needed, free })) => Err(RepoError::Quota {
            prefix,
            needed,
            free,
            uploads: 0,
        }),
        Some((prefix, Refusal::History { kept, bound })) => Err(RepoError::HistoryFull {
            prefix,
            kept,
            bound,
            by: Vec::new(),
        }),
    }
}

/// The repository shows again what it kept all the while: a change is taken back, which no quota refuses.
pub(in crate::repo) fn regain(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
) -> Result<(), StoreError> {
    if any(tx)? {
        shift(tx, id, digest, size, (1, 0), true)?;
    }
    Ok(())
}

/// The repository shows the digest once less; the reference that showed it is gone, or of the past.
pub(in crate::repo) fn lose(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
) -> Result<(), StoreError> {
    if any(tx)? {
        let gone = i64::from(!is_held(tx, id, digest)?);
        shift(tx, id, digest, size, (-1, -gone), false)?;
    }
    Ok(())
}

/// A reference that kept the digest and did not show it is gone.
pub(in crate::repo) fn let_go(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<(), StoreError> {
    if any(tx)? && !is_held(tx, id, digest)? {
        let size = rows::size(tx, digest)?;
        shift(tx, id, digest, size, (0, -1), false)?;
    }
    Ok(())
}

/// Adds to the counts of every prefix that holds the repository; the first refusal ends it, and must end the transaction.
/// With `forced` none refuses.
fn shift(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
    (shown, held): (i64, i64),
    forced: bool,
) -> Result<Option<(String, Refusal)>, StoreError> {
    let name = name_of(tx, id)?.unwrap_or_default();
    for prefix in prefixes(&name) {
        let Some(mut record) = quota(tx, prefix)? else {
            continue;
        };
        let counted = |to: &Option<Vec<u8>>| !is_ahead(to.as_deref(), digest, id);
        let by = (
            if counted(&record.counted_to) {
                shown
            } else {
                0
            },
            if counted(&record.held_to) { held } else { 0 },
        );
        let before = counts(tx, prefix, digest)?;
        let after = before.plus(by);
        if after == before {
            continue;
        }
        if by.0 > 0
            && !forced
            && let Some(refusal) = refusal(&record, before, size)
        {
            return Ok(Some((prefix.to_owned(), refusal)));
        }
        set_counts(tx, prefix, digest, after)?;
        if record.count(before, after, size) {
            tx.put(Table::Quotas, &key(prefix), &record.to_bytes()?)?;
        }
    }
    Ok(None)
}

/// Whether a quota has no room for a digest that is about to be shown.
fn refusal(record: &QuotaRecord, before: Counts, size: u64) -> Option<Refusal> {
    if before.shown > 0 {
        return None;
    }
    let free = record.limit.saturating_sub(record.used);
    if size > free && record.counted_to.is_none() {
        let needed = size;
        return Some(Refusal::Shown { needed, free });
    }
    // What the history has comes back from there: together it is no more than before.
    let (kept, bound) = (record.history, record.history_bound());
    let grows = before.held == 0 && size > 0;
    (grows && kept > bound && record.held_to.is_none()).then_some(Refusal::History { kept, bound })
}

impl QuotaRecord {
    /// A digest of `size` bytes was counted otherwise; whether that changes a sum.
    pub(super) fn count(&mut self, before: Counts, after: Counts, size: u64) -> bool {
        let (was, is) = (before.bytes(size), after.bytes(size));
        self.used = (self.used + is.0).saturating_sub(was.0);
        self.history = (self.history + is.1).saturating_sub(was.1);
        was != is
    }
}

pub(super) fn name_of(get: &impl Get, id: RepoId) -> Result<Option<String>, StoreError> {
    let row = get.get(Table::Repos, &keys::repo(id))?;
    let record = row.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
    Ok(record.map(|record| record.name))
}

/// `refs` from and to: what keeps a digest's bytes in one repository.
fn holding(digest: &Digest, id: RepoId) -> (Vec<u8>, Vec<u8>) {
    let (_, to) = keys::keepers(digest, id);
    (keys::link(digest, id), to)
}

pub(super) fn is_held(get: &impl Get, id: RepoId, digest: &Digest) -> Result<bool, StoreError> {
    let (from, to) = holding(digest, id);
    Ok(!get.scan(Table::Refs, &from, &to, 1)?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_counts_once_as_shown_or_once_as_history() {
        let counts = |shown, held| Counts { shown, held };
        assert_eq!(counts(3, 2).bytes(7), (7, 0));
        assert_eq!(counts(0, 2).bytes(7), (0, 7));
        assert_eq!(counts(0, 0).bytes(7), (0, 0));
        for both in [counts(3, 2), counts(0, 1)] {
            let row = both.to_row().expect("a row");
            assert_eq!(Counts::of_row(&row), both);
        }
        assert_eq!(counts(0, 0).to_row(), None);
        // A row of before the history counted.
        assert_eq!(Counts::of_row(&5_u64.to_be_bytes()), counts(5, 0));
    }
}
