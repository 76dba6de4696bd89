//! Snapshots: names for revisions that are kept.
//!
//! Owns their rows and pins, and what is asked of them: make, list, show, compare, delete. One costs two rows, whatever
//! it shows. A row of the past stays as long as a kept revision shows it: `reclaim` sees to that. Must not know what items
//! mean.

mod create;
mod delete;
mod diff;
mod list;
mod root;

pub(super) use delete::{expire, to_go_with};
pub(super) use diff::Pair;
pub use diff::{DiffItem, Difference};
pub use list::{SnapshotPage, SnapshotPlace};

use super::rows::record::SnapshotRecord;
use super::shown::At;
use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::{StoreError, Txn};
use crate::types::{Digest, RepoId, RepoPattern, Rev, Title};

/// A snapshot to be made.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// Of which repositories; of all in one cut.
    pub of: RepoPattern,
    /// As of when.
    pub at: At,
    /// Its title; none: the day, and with a number where there is one of that day already.
    pub title: Option<Title>,
    /// After how much running time it ends (ms); none: when it is deleted.
    pub expires_ms: Option<u64>,
    /// It cannot be deleted until that is taken back.
    pub held: bool,
    /// Who makes it.
    pub who: String,
}

/// A snapshot, or a revision that was asked for as one is, for people and scripts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct SnapshotView {
    /// The repository.
    pub name: String,
    /// Its title; none for a revision that no snapshot was asked for by name.
    pub title: Option<String>,
    /// The revision.
    pub rev: u64,
    /// When it was made (wall clock, ms).
    pub created_ms: u64,
    /// Who made it.
    pub created_by: String,
    /// In how much running time it ends (ms); none: when it is deleted.
    pub ends_in_ms: Option<u64>,
    /// It cannot be deleted until that is taken back.
    pub held: bool,
    /// The root digest of what it shows, once it was asked for.
    pub root: Option<Digest>,
}

impl SnapshotView {
    fn of(name: &str, title: &str, record: &SnapshotRecord, now: u64) -> Self {
        Self {
            name: name.to_owned(),
            title: Some(title.to_owned()),
            rev: record.rev,
            created_ms: record.at_ms,
            created_by: record.who.clone(),
            ends_in_ms: record.ends.map(|end| end.saturating_sub(now)),
            held: record.held,
            root: root_of(record),
        }
    }
}

fn root_of(record: &SnapshotRecord) -> Option<Digest> {
    let root = record.root.as_deref()?;
    Digest::from_key(root).ok()
}

/// Tells the feed of what became of a snapshot: repository, title and revision; by whom, why and when.
fn tell(
    tx: &mut Txn<'_>,
    id: RepoId,
    (name, title, rev): (&str, &str, Rev),
    (who, why, at_ms): (&str, &str, u64),
) -> Result<(), StoreError> {
    let row = FeedRecord {
        kind: FeedKind::Snapshot as u8,
        repo: id.0,
        name: format!("{name}@{title}"),
        rev: rev.0,
        at_ms,
        who: who.into(),
        why: why.into(),
        cause: FeedCause::None,
    };
    feed::tell(tx, row)
}
