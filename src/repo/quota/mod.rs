//! Quotas: how many bytes the repositories below a prefix may have, each digest once.
//!
//! Three sums have a part in it. *Shown* is what is visible at the head and what uploads have linked; *uploads* are the
//! bytes of unfinished ones, in memory ([`uploads`]): both together stay within the quota ([`room`]). *History* is what is
//! kept and not shown; it has a bound of its own, beyond which the oldest goes ([`history`]). Shown and history are kept in
//! the transaction that changes them ([`count`]). A new quota counts what is there in small transactions ([`pass`]); until it
//! has, it refuses nothing. Where the disk is full the counting goes on with a later sweep.

mod count;
mod history;
mod keepers;
mod pass;
mod remove;
mod room;
mod turns;
mod uploads;

pub(super) use count::{Counts, gain, let_go, lose, regain};
pub(super) use pass::held_and_shown;
pub(super) use turns::Turns;
pub(super) use uploads::Uploads;

use super::error::{RepoError, RepoErrorKind};
use super::rows::record::QuotaRecord;
use super::{Inner, Repos};
use crate::store::cause::FeedCause;
use crate::store::epochs::{Epoch, Subject};
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::key::{Key, Parts};
use crate::store::record::Record;
use crate::store::{Get, Need, StoreError, Table, Txn};
use crate::types::{Digest, RepoName, wall_ms};

/// Most quotas that are listed.
const QUOTAS: usize = 10_000;

/// A quota, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct QuotaView {
    /// Prefix of repository names; empty for the whole box.
    pub prefix: String,
    /// Bytes allowed.
    pub limit: u64,
    /// Bytes shown.
    pub used: u64,
    /// Bytes of unfinished uploads.
    pub uploads: u64,
    /// Bytes that only the history keeps.
    pub history: u64,
    /// Bytes that only the history may keep.
    pub history_limit: u64,
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

impl QuotaRecord {
    /// Bytes that the history alone may keep.
    pub(super) fn history_bound(&self) -> u64 {
        self.history_limit.unwrap_or(self.limit)
    }

    /// What was there before is not counted yet, not to its end.
    fn is_counting(&self) -> bool {
        self.counted_to.is_some() || self.held_to.is_some()
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

/// Tells the feed of a change of a quota, which only the operator makes.
fn tell(tx: &mut Txn<'_>, prefix: &str, at_ms: u64, why: &str) -> Result<(), StoreError> {
    let row = FeedRecord {
        kind: FeedKind::Setting as u8,
        repo: 0,
        name: prefix.into(),
        rev: 0,
        at_ms,
        who: "operator".into(),
        why: why.into(),
        cause: FeedCause::None,
    };
    feed::tell(tx, row)
}

impl Inner {
    /// The epoch of the quotas: to be taken before the store is read.
    fn quotas_epoch(&self) -> Epoch {
        self.epochs.now(Subject::Quotas)
    }

    /// Whether there is known to be no quota at all.
    pub(super) fn is_unlimited(&self) -> bool {
        self.unlimited.is(self.quotas_epoch())
    }
}

impl Repos {
    /// Sets the bytes that the repositories below a prefix may show, and those that their history may keep beside
    /// (`None`: as many); the empty prefix is the whole box. Returns when what is there has been counted, or when the disk
    /// is full. What is shown stays, even if it is more; of the history the oldest goes.
    pub async fn set_quota(
        &self,
        prefix: &str,
        limit: u64,
        history_limit: Option<u64>,
    ) -> Result<(), RepoError> {
        let (wanted, at_ms) = (prefix.to_owned(), wall_ms());
        let set = move |tx: &mut Txn<'_>| {
            let record = match quota(tx, &wanted)? {
                Some(record) => QuotaRecord {
                    limit,
                    history_limit,
                    ..record
                },
                None => QuotaRecord {
                    limit,
                    history_limit,
                    used: 0,
                    history: 0,
                    counted_to: Some(Vec::new()),
                    held_to: Some(Vec::new()),
                },
            };
            tx.put(Table::Quotas, &key(&wanted), &record.to_bytes()?)?;
            Ok::<_, RepoError>(tell(tx, &wanted, at_ms, "quota.set")?)
        };
        self.write(Need::Keeps, "quota.set", set).await?;
        self.count_or_put_off(prefix).await
    }

    /// Counts, as far as the disk has room for it: a quota that is set stands all the same, and is counted to its end later.
    async fn count_or_put_off(&self, prefix: &str) -> Result<(), RepoError> {
        match self.count_quota(prefix).await {
            Err(error) if error.kind() == RepoErrorKind::NoSpace => {
                tracing::warn!(quota = shown(prefix), %error, "the quota stands, and refuses nothing until a sweep finds the room to count what is there");
                Ok(())
            }
            done => done,
        }
    }

    /// How many quotas hold a name: each of them counts what is shown there.
    pub(super) async fn quotas_above(&self, name: &RepoName) -> Result<usize, RepoError> {
        if self.0.is_unlimited() {
            return Ok(0);
        }
        let name = name.clone();
        self.hop(move |_, r| {
            let mut found = 0;
            for prefix in prefixes(name.as_str()) {
                found += usize::from(r.get(Table::Quotas, &key(prefix))?.is_some());
            }
            Ok(found)
        })
        .await
    }

    /// Every quota, by prefix.
    pub async fn quotas(&self) -> Result<Vec<QuotaView>, RepoError> {
        self.hop(|inner, r| {
            let mut all = Vec::new();
            for (key, row) in r.scan(Table::Quotas, &[], &[], QUOTAS)? {
                let record = QuotaRecord::from_bytes(&row)?;
                let prefix = Parts(&key).text().unwrap_or_default().to_owned();
                all.push(QuotaView {
                    limit: record.limit,
                    used: record.used,
                    uploads: inner.uploads.below(&prefix),
                    history: record.history,
                    history_limit: record.history_bound(),
                    counting: record.is_counting(),
                    prefix,
                });
            }
            Ok(all)
        })
        .await
    }

    /// Goes on with the counting of new quotas that a restart or a full disk cut short, and with the removal of others, and
    /// counts the history below those of before it did. Two reads where there are none.
    pub async fn finish_quotas(&self) -> Result<(), RepoError> {
        self.finish_removals().await?;
        if self.0.is_unlimited() {
            return Ok(());
        }
        let counting = self.hop(|_, r| {
            let mut prefixes = Vec::new();
            for (key, row) in r.scan(Table::Quotas, &[], &[], QUOTAS)? {
                if QuotaRecord::from_bytes(&row)?.is_counting() {
                    prefixes.push(Parts(&key).text().unwrap_or_default().to_owned());
                }
            }
            Ok(prefixes)
        });
        for prefix in counting.await? {
            self.count_or_put_off(&prefix).await?;
        }
        Ok(())
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
