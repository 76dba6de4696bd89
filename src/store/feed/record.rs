//! What one row of the feed says, and of what kind it is. Each version of it stays readable.

use crate::store::StoreError;
use crate::store::cause::FeedCause;
use crate::store::record::{Decode, Encode, Record, decode_body};

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
    /// An upstream was added, changed or removed; the name is its own.
    Upstream = 10,
}

impl FeedKind {
    const ALL: [Self; 11] = [
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
        Self::Upstream,
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
