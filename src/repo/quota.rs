//! Quotas: how many bytes the repositories below a prefix may show, each digest once.
//!
//! Counted is what is visible at the head and what uploads have linked; the history is not. The count of holders of each
//! (prefix, digest) is kept for prefixes that have a quota, in the transaction that changes what is shown, so a quota is
//! exact inside the commit. A new quota counts what is there in small transactions; until it has, it refuses nothing.

use super::Repos;
use super::error::RepoError;
use super::keys::{self, Class, Name};
use super::record::{BlobRecord, QuotaRecord, RepoRecord};
use super::rows;
use crate::store::key::{Key, Parts};
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, StoreError, Table, Txn};
use crate::types::{Digest, RepoId, RepoName};
use std::sync::Arc;

/// Digests that one transaction of a new quota counts.
const DIGESTS: usize = 100;
/// References read for one digest at a time.
const REFS: usize = 500;
/// Rows of one removed quota that one transaction drops.
const ROWS: usize = 800;

/// A quota, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QuotaView {
    /// Prefix of repository names; empty for the whole box.
    pub prefix: String,
    /// Bytes allowed.
    pub limit: u64,
    /// Bytes shown.
    pub used: u64,
    /// What was there before is still being counted: nothing is refused yet.
    pub counting: bool,
}

/// The prefixes that hold a name, the whole box first.
fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    let inner = name.match_indices('/').map(|(at, _)| &name[..at]);
    let own = Some(name).filter(|name| !name.is_empty());
    std::iter::once("").chain(inner).chain(own)
}

pub(super) fn key(prefix: &str) -> Vec<u8> {
    Key::new().text(prefix).done()
}

pub(super) fn holders_key(prefix: &str, digest: &Digest) -> Vec<u8> {
    Key::new().text(prefix).raw(digest.as_key()).done()
}

fn quota(get: &impl Get, prefix: &str) -> Result<Option<QuotaRecord>, StoreError> {
    let row = get.get(Table::Quotas, &key(prefix))?;
    row.map(|row| QuotaRecord::from_bytes(&row)).transpose()
}

/// Whether there is any quota at all: without one nothing is looked up.
fn any(get: &impl Get) -> Result<bool, StoreError> {
    Ok(!get.scan(Table::Quotas, &[], &[], 1)?.is_empty())
}

fn name_of(get: &impl Get, id: RepoId) -> Result<Option<String>, StoreError> {
    let row = get.get(Table::Repos, &keys::repo(id))?;
    let record = row.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
    Ok(record.map(|record| record.name))
}

/// The repository shows the digest once more. Refused where a quota has no room for it.
pub(super) fn gain(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
) -> Result<(), RepoError> {
    if !any(tx)? {
        return Ok(());
    }
    let name = name_of(tx, id)?.unwrap_or_default();
    for prefix in prefixes(&name) {
        let Some(mut record) = quota(tx, prefix)? else {
            continue;
        };
        if record.is_ahead_of(digest) {
            continue;
        }
        let count = holders(tx, prefix, digest)?;
        set_holders(tx, prefix, digest, count + 1)?;
        if count > 0 {
            continue;
        }
        let free = record.limit.saturating_sub(record.used);
        if size > free && record.counted_to.is_none() {
            return Err(full(prefix, size, free));
        }
        record.used += size;
        tx.put(Table::Quotas, &key(prefix), &record.to_bytes()?)?;
    }
    Ok(())
}

/// The repository shows the digest once less.
pub(super) fn lose(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
) -> Result<(), StoreError> {
    if !any(tx)? {
        return Ok(());
    }
    let name = name_of(tx, id)?.unwrap_or_default();
    for prefix in prefixes(&name) {
        let Some(mut record) = quota(tx, prefix)? else {
            continue;
        };
        let count = holders(tx, prefix, digest)?;
        if record.is_ahead_of(digest) || count == 0 {
            continue;
        }
        set_holders(tx, prefix, digest, count - 1)?;
        if count == 1 {
            record.used = record.used.saturating_sub(size);
            tx.put(Table::Quotas, &key(prefix), &record.to_bytes()?)?;
        }
    }
    Ok(())
}

impl QuotaRecord {
    /// Whether the counting of what was there has not come to this digest: it will find it as it is then.
    fn is_ahead_of(&self, digest: &Digest) -> bool {
        let counted = self.counted_to.as_deref();
        counted.is_some_and(|to| digest.as_key() > to)
    }
}

fn full(prefix: &str, needed: u64, free: u64) -> RepoError {
    RepoError::Quota {
        prefix: prefix.to_owned(),
        needed,
        free,
    }
}

fn holders(get: &impl Get, prefix: &str, digest: &Digest) -> Result<u64, StoreError> {
    let row = get.get(Table::QuotaHolders, &holders_key(prefix, digest))?;
    Ok(row.map_or(0, |row| rows::number(&row)))
}

fn set_holders(
    tx: &mut Txn<'_>,
    prefix: &str,
    digest: &Digest,
    count: u64,
) -> Result<(), StoreError> {
    let key = holders_key(prefix, digest);
    if count == 0 {
        tx.delete(Table::QuotaHolders, &key)
    } else {
        tx.put(Table::QuotaHolders, &key, &count.to_be_bytes())
    }
}

impl Repos {
    /// Sets the bytes that the repositories below a prefix may show; the empty prefix is the whole box. Returns when
    /// what is there has been counted. What is there stays, even if it is more.
    pub async fn set_quota(&self, prefix: &str, limit: u64) -> Result<(), RepoError> {
        let wanted = prefix.to_owned();
        let set = move |tx: &mut Txn<'_>| {
            let record = match quota(tx, &wanted)? {
                Some(record) => QuotaRecord { limit, ..record },
                None => QuotaRecord {
                    limit,
                    used: 0,
                    counted_to: Some(Vec::new()),
                },
            };
            Ok::<_, RepoError>(tx.put(Table::Quotas, &key(&wanted), &record.to_bytes()?)?)
        };
        let (store, unlimited) = (&self.0.store, Arc::clone(&self.0.unlimited));
        store
            .write_then(Lane::Request, Need::Keeps, "quota.set", set, move || {
                unlimited.end()
            })
            .await?;
        self.count_quota(prefix).await
    }

    /// Ends a quota.
    pub async fn remove_quota(&self, prefix: &str) -> Result<(), RepoError> {
        let wanted = prefix.to_owned();
        let write = self.write(Need::Keeps, "quota.remove", move |tx| {
            if quota(tx, &wanted)?.is_none() {
                return Err(RepoError::Refused(format!(
                    "there is no quota on {}; `dryport quota list` shows all",
                    shown(&wanted)
                )));
            }
            Ok(tx.delete(Table::Quotas, &key(&wanted))?)
        });
        write.await?;
        let prefix = prefix.to_owned();
        loop {
            let wanted = prefix.clone();
            let write = self
                .0
                .store
                .write(Lane::Background, Need::Keeps, "quota.end", move |tx| {
                    let (from, to) = Key::new().text(&wanted).range();
                    // A quota set anew meanwhile counts from the start and needs these rows gone, too.
                    let rows = tx.scan(Table::QuotaHolders, &from, &to, ROWS)?;
                    for (key, _) in &rows {
                        tx.delete(Table::QuotaHolders, key)?;
                    }
                    Ok::<_, RepoError>(rows.len())
                });
            if write.await? < ROWS {
                return Ok(());
            }
        }
    }

    /// Every quota, by prefix.
    pub async fn quotas(&self) -> Result<Vec<QuotaView>, RepoError> {
        self.hop(|_, r| {
            let mut all = Vec::new();
            for (key, row) in r.scan(Table::Quotas, &[], &[], 10_000)? {
                let record = QuotaRecord::from_bytes(&row)?;
                all.push(QuotaView {
                    prefix: Parts(&key).text().unwrap_or_default().to_owned(),
                    limit: record.limit,
                    used: record.used,
                    counting: record.counted_to.is_some(),
                });
            }
            Ok(all)
        })
        .await
    }

    /// Goes on with the counting of new quotas that a restart cut short.
    pub async fn finish_quotas(&self) -> Result<(), RepoError> {
        for quota in self.quotas().await?.into_iter().filter(|q| q.counting) {
            self.count_quota(&quota.prefix).await?;
        }
        Ok(())
    }

    /// Refuses an upload of `needed` bytes before they come, unless a quota has room for them or shows the digest.
    pub(super) async fn quota_room(
        &self,
        name: &RepoName,
        digest: Option<&Digest>,
        needed: u64,
    ) -> Result<(), RepoError> {
        let unlimited = &self.0.unlimited;
        if unlimited.is_known() {
            return Ok(());
        }
        let made = unlimited.made();
        let (name, digest) = (name.clone(), digest.copied());
        self.hop(move |inner, r| {
            if !any(r)? {
                inner.unlimited.found_none(made);
                return Ok(());
            }
            for prefix in prefixes(name.as_str()) {
                let Some(record) = quota(r, prefix)?.filter(|q| q.counted_to.is_none()) else {
                    continue;
                };
                let free = record.limit.saturating_sub(record.used);
                let held = match &digest {
                    Some(digest) => holders(r, prefix, digest)? > 0,
                    None => false,
                };
                if needed > free && !held {
                    return Err(full(prefix, needed, free));
                }
            }
            Ok(())
        })
        .await
    }

    async fn count_quota(&self, prefix: &str) -> Result<(), RepoError> {
        loop {
            let wanted = prefix.to_owned();
            let write =
                self.0
                    .store
                    .write(Lane::Background, Need::Grows, "quota.count", move |tx| {
                        count_page(tx, &wanted)
                    });
            if write.await? {
                return Ok(());
            }
        }
    }
}

/// The prefix as people write it.
fn shown(prefix: &str) -> String {
    if prefix.is_empty() {
        "the whole box".to_owned()
    } else {
        format!("{prefix}/")
    }
}

/// Counts the next digests of a new quota; whether it is complete.
fn count_page(tx: &mut Txn<'_>, prefix: &str) -> Result<bool, RepoError> {
    let Some(mut record) = quota(tx, prefix)? else {
        return Ok(true);
    };
    let Some(counted_to) = record.counted_to.clone() else {
        return Ok(true);
    };
    let from = if counted_to.is_empty() {
        Vec::new()
    } else {
        [counted_to.as_slice(), &[0]].concat()
    };
    let page = tx.scan(Table::Blobs, &from, &[], DIGESTS)?;
    for (key, row) in &page {
        let Ok(digest) = Digest::from_key(key) else {
            continue;
        };
        let count = count_holders(tx, prefix, &digest)?;
        if count > 0 {
            set_holders(tx, prefix, &digest, count)?;
            record.used += BlobRecord::from_bytes(row)?.size;
        }
    }
    record.counted_to = match page.last() {
        Some((last, _)) if page.len() == DIGESTS => Some(last.clone()),
        _ => None,
    };
    let done = record.counted_to.is_none();
    tx.put(Table::Quotas, &key(prefix), &record.to_bytes()?)?;
    Ok(done)
}

/// How often repositories below the prefix show the digest: by a link, and as a live manifest.
pub(super) fn count_holders(
    tx: &impl Get,
    prefix: &str,
    digest: &Digest,
) -> Result<u64, StoreError> {
    let mut count = 0;
    let (mut from, to) = keys::refs(digest).range();
    loop {
        let page = tx.scan(Table::Refs, &from, &to, REFS)?;
        for (key, _) in &page {
            let Some((id, class, rest)) = keys::ref_head(key) else {
                continue;
            };
            let own = class == Class::Manifest as u8
                && keys::parent_of(rest).is_some_and(|(parent, _)| parent == *digest);
            if class != Class::Link as u8 && !own {
                continue;
            }
            let name = name_of(tx, id)?.and_then(|name| name.parse::<RepoName>().ok());
            if !name.is_some_and(|name| name.is_under(prefix)) {
                continue;
            }
            let shows = match keys::parent_of(rest).filter(|_| own) {
                Some((_, added)) => rows::live(tx, id, &Name::Manifest(digest))?
                    .is_some_and(|(rev, _)| rev == added),
                None => true,
            };
            count += u64::from(shows);
        }
        match page.last().filter(|_| page.len() == REFS) {
            Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
            None => return Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_at_slashes() {
        let all: Vec<_> = prefixes("a/b/c").collect();
        assert_eq!(all, ["", "a", "a/b", "a/b/c"]);
    }
}
