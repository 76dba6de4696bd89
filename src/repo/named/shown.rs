//! A repository at a revision: what every read takes. A name is resolved to one once, in one place, which also checks its kind.
//!
//! Owns how a name and a reference to its past become a revision, and which revisions can be read. Must not know what items
//! mean.

use crate::repo::error::RepoError;
use crate::repo::history::moment::rev_at;
use crate::repo::rows::keys::{self, Name};
use crate::repo::rows::record::{ItemRecord, RepoRecord, SnapshotRecord};
use crate::repo::{any_visible, rows};
use crate::store::record::Record;
use crate::store::{Get, Read, StoreError, Table};
use crate::types::{Kind, Remedy, RepoId, RepoName, Rev, Title, moment};
use std::sync::Arc;

/// As of when a repository is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum At {
    /// Now.
    #[default]
    Head,
    /// What it showed at this time (wall clock, ms).
    Time(u64),
    /// What a reference means: the title of a snapshot, else `gREV`, else a time as `at/` reads it.
    Named(Arc<str>),
}

impl At {
    /// The longest reference in bytes.
    pub const MAX: usize = Title::MAX;

    /// A reference; none for a text that cannot be one.
    pub fn named(text: &str) -> Option<Self> {
        let could_be = Title::is_component(text);
        could_be.then(|| Self::Named(text.into()))
    }
}

/// A repository at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) struct Shown {
    /// The repository.
    pub id: RepoId,
    /// The revision.
    pub rev: Rev,
    /// It is the head, and nobody is at work on the next one: what is live is what it shows.
    pub is_live: bool,
}

impl Shown {
    /// Of a repository's row.
    fn head(id: RepoId, record: &RepoRecord) -> Self {
        Self {
            id,
            rev: Rev(record.head),
            is_live: record.stage.is_none(),
        }
    }

    /// What a name means here: its row and the revision that added it.
    pub fn item(
        &self,
        get: &impl Get,
        name: &Name<'_>,
    ) -> Result<Option<(Rev, ItemRecord)>, StoreError> {
        if self.is_live {
            let live = rows::live(get, self.id, name)?;
            return Ok(live.filter(|(added, _)| *added <= self.rev));
        }
        rows::at(get, self.id, name, self.rev)
    }
}

/// The repository of a name and kind, as of then.
pub(in crate::repo) fn shown(
    r: &Read<'_>,
    name: &RepoName,
    kind: Kind,
    at: &At,
) -> Result<Shown, RepoError> {
    let found = any_visible(r, name.as_str())?.filter(|(_, record)| record.kind == kind.code());
    of(r, name, found, at)
}

/// The same of any kind.
pub(in crate::repo) fn any_shown(
    r: &Read<'_>,
    name: &RepoName,
    at: &At,
) -> Result<Shown, RepoError> {
    let found = any_visible(r, name.as_str())?;
    of(r, name, found, at)
}

fn of(
    r: &Read<'_>,
    name: &RepoName,
    found: Option<(RepoId, RepoRecord)>,
    at: &At,
) -> Result<Shown, RepoError> {
    let (id, record) = found.ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
    if *at == At::Head {
        return Ok(Shown::head(id, &record));
    }
    let rev = resolve(r, id, &record, at)?;
    readable(r, id, &record, rev)?;
    Ok(Shown {
        id,
        rev,
        is_live: false,
    })
}

/// The revision that `at` means.
pub(in crate::repo) fn resolve(
    r: &Read<'_>,
    id: RepoId,
    record: &RepoRecord,
    at: &At,
) -> Result<Rev, RepoError> {
    match at {
        At::Head => Ok(Rev(record.head)),
        At::Time(ms) => rev_at(r, id, record, *ms),
        At::Named(text) => {
            if let Some(row) = r.get(Table::Snapshots, &keys::snapshot(id, text))? {
                return Ok(Rev(SnapshotRecord::from_bytes(&row)?.rev));
            }
            if let Some(rev) = Title::revision(text) {
                return Ok(rev);
            }
            match moment::parse(text) {
                Some(ms) => rev_at(r, id, record, ms),
                None => Err(RepoError::SnapshotUnknown {
                    name: record.name.clone(),
                    title: text.to_string(),
                }),
            }
        }
    }
}

/// Refuses a revision that is to come, or that the history no longer keeps and no snapshot does.
pub(in crate::repo) fn readable(
    get: &impl Get,
    id: RepoId,
    record: &RepoRecord,
    rev: Rev,
) -> Result<(), RepoError> {
    if rev.0 > record.head {
        return Err(RepoError::Refused(format!(
            "{} is at revision {}; there is no revision {} yet",
            record.name, record.head, rev.0
        )));
    }
    if rev.0 >= record.horizon || is_pinned(get, id, rev)? {
        return Ok(());
    }
    let text = format!(
        "the history of {} is kept from revision {} on; revision {} is gone",
        record.name, record.horizon, rev.0
    );
    Err(RepoError::Mendable(
        text,
        Remedy::KeepHistory(record.name.clone()),
    ))
}

/// Whether something keeps just this revision.
pub(in crate::repo) fn is_pinned(get: &impl Get, id: RepoId, rev: Rev) -> Result<bool, StoreError> {
    let (from, to) = keys::pins(id).u64(rev.0).range();
    Ok(!get.scan(Table::Pins, &from, &to, 1)?.is_empty())
}

/// Whether something keeps a revision from `added` on and before `removed`: then a row that was there so long stays.
pub(in crate::repo) fn is_pinned_within(
    get: &impl Get,
    id: RepoId,
    added: Rev,
    removed: Rev,
) -> Result<bool, StoreError> {
    if removed <= added {
        return Ok(false);
    }
    let from = keys::pins(id).u64(added.0).done();
    let to = keys::pins(id).u64(removed.0).done();
    Ok(!get.scan(Table::Pins, &from, &to, 1)?.is_empty())
}

/// Whether the row of the past that this revision added is there and something keeps a revision that shows it.
pub(in crate::repo) fn is_past_pinned(
    get: &impl Get,
    id: RepoId,
    name: &Name<'_>,
    added: Rev,
) -> Result<bool, StoreError> {
    let Some(row) = get.get(Table::Items, &keys::item(id, name, true, added))? else {
        return Ok(false);
    };
    let item = ItemRecord::from_bytes(&row)?;
    is_pinned_within(get, id, added, Rev(item.removed))
}

/// The first revision from `rev` on that something keeps.
pub(in crate::repo) fn next_pin(
    get: &impl Get,
    id: RepoId,
    rev: Rev,
) -> Result<Option<Rev>, StoreError> {
    let from = keys::pins(id).u64(rev.0).done();
    let (_, to) = keys::pins(id).range();
    let pin = get.scan(Table::Pins, &from, &to, 1)?.pop();
    Ok(pin.and_then(|(key, _)| keys::rev_of_pin(&key)))
}
