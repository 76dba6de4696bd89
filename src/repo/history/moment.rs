//! What names of the past and times mean: a repository as of a revision.

use crate::cache::Cache;
use crate::repo::bounded::left;
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::repo::rows::record::{ChangeRecord, RepoRecord};
use crate::repo::shown::{At, readable};
use crate::repo::{Repos, any_visible};
use crate::store::epochs::Epoch;
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, StoreError, Table};
use crate::types::{Kind, Moment, RepoId, RepoName, Rev};

/// Memory for names of the past: some ten thousand.
const BYTES: u64 = 2 << 20;

/// What a name of the past means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// The repository.
    pub name: RepoName,
    /// As of when.
    pub at: At,
}

/// What was found of a name that may be one of a snapshot, with the epoch of the repository that it would be of.
pub(in crate::repo) type KnownNames = Cache<RepoName, (Epoch, Option<Meant>)>;

/// Nothing yet.
pub(in crate::repo) fn known_names() -> KnownNames {
    Cache::new(BYTES, None, |name: &RepoName, _| {
        2 * name.as_str().len() + size_of::<(Epoch, Option<Meant>)>()
    })
}

impl Repos {
    /// What a name of the past means; `None` for an ordinary name, which that of a snapshot is unless there is such a
    /// snapshot. From memory, or in one hop.
    pub async fn meant(&self, name: &RepoName) -> Result<Option<Meant>, RepoError> {
        if !name.may_be_past() {
            return Ok(None);
        }
        let known = self.0.names.get(name);
        if let Some((epoch, meant)) = known {
            // A time means the same whatever changes.
            let is_current = match &meant {
                Some(meant) if matches!(meant.at, At::Time(_)) => true,
                Some(meant) => epoch == self.0.epoch(&meant.name),
                None => false,
            };
            if is_current {
                return Ok(meant);
            }
        }
        let Some((moment, now)) = name.moment() else {
            return Ok(None);
        };
        let epoch = self.0.epoch(&now);
        let meant = match moment {
            Moment::Time(ms) => Some(Meant {
                name: now,
                at: At::Time(ms),
            }),
            Moment::Snapshot(title) => {
                let (of, wanted) = (now.clone(), title.clone());
                let is_there = self.hop(move |_, r| {
                    let Some((id, _)) = any_visible(r, of.as_str())? else {
                        return Ok(false);
                    };
                    let key = keys::snapshot(id, wanted.as_str());
                    Ok(r.get(Table::Snapshots, &key)?.is_some())
                });
                is_there.await?.then(|| Meant {
                    name: now,
                    at: At::Named(title.as_str().into()),
                })
            }
        };
        if meant.is_some() {
            self.0.names.insert(name.clone(), (epoch, meant.clone()));
        }
        Ok(meant)
    }

    /// The newest revision that was made at this time (wall clock, ms) or before; refused if the history no longer keeps
    /// what it showed.
    pub async fn rev_at(&self, name: &RepoName, at_ms: u64) -> Result<Rev, RepoError> {
        let name = name.clone();
        self.hop(move |_, r| {
            let (id, record) = crate::repo::visible(r, name.as_str(), Kind::Oci)?
                .ok_or(RepoError::NameUnknown(name.clone()))?;
            let rev = rev_at(r, id, &record, at_ms)?;
            readable(r, id, &record, rev)?;
            Ok(rev)
        })
        .await
    }
}

/// What is wrong with a history whose revisions have no times.
const LOST: &str = "many revisions of a repository have lost their time";

/// The newest revision that was made at this time (wall clock, ms) or before.
pub(in crate::repo) fn rev_at(
    r: &Read<'_>,
    id: RepoId,
    record: &RepoRecord,
    at_ms: u64,
) -> Result<Rev, RepoError> {
    // Times rise with revisions, but for a clock that was set back; then any revision of that time will do.
    let (mut below, mut above) = (0, record.head + 1);
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        match made(r, id, Rev(middle), Rev(above))? {
            Some((_, at)) if at <= at_ms => below = middle,
            _ => above = middle,
        }
    }
    Ok(Rev(below))
}

/// The first revision from `from` on, before `to`, that the history has a time of.
fn made(r: &Read<'_>, id: RepoId, from: Rev, to: Rev) -> Result<Option<(Rev, u64)>, RepoError> {
    let mut key = keys::change_head(id, from);
    let end = keys::change_head(id, to);
    while let Some((found, row)) = r.scan(Table::Changes, &key, &end, 1)?.pop() {
        let mut parts = Parts(&found);
        let rev = parts.u64().and_then(|_| parts.u64()).map(Rev);
        match (rev, parts.u8()) {
            (Some(rev), Some(0)) => {
                return Ok(Some((rev, ChangeRecord::from_bytes(&row)?.at_ms)));
            }
            // A revision whose head row is missing, which is damage; one more is looked at, and not all that there are.
            (Some(rev), _) if left(r) > 0 => key = keys::change_head(id, Rev(rev.0 + 1)),
            (Some(_), _) => return Err(StoreError::Damaged(LOST.into()).into()),
            _ => return Ok(None),
        }
    }
    Ok(None)
}
