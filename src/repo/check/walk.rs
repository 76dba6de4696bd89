//! One pass over the rows: what has been seen, and what looks wrong. Each page is one short read; what a page finds from
//! its own rows alone is exact, what it suspects from earlier pages is confirmed in one read ([`super::due`]).

use super::mend::Finding;
use super::report::{Problem, ProblemKind};
use crate::repo::Inner;
use crate::repo::error::RepoError;
use crate::repo::format::Inspected;
use crate::repo::images::read;
use crate::repo::rows::keys::{self, Name};
use crate::repo::rows::record::{RepoRecord, UsageRecord};
use crate::store::record::Record;
use crate::store::{Get, Read, StoreError, Table};
use crate::types::{Digest, RepoId, Rev};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Rows read in one hop.
pub(super) const PAGE: usize = 500;

/// Something that only a look at the whole list of due rows can decide.
#[derive(Debug, Clone)]
pub(super) enum Suspect {
    Orphan(Digest),
    Untagged(RepoId, Digest),
    History(RepoId, Rev),
    Repo(RepoId),
    Change {
        key: Vec<u8>,
        id: RepoId,
        rev: Rev,
    },
    Due {
        key: Vec<u8>,
        value: Vec<u8>,
        id: RepoId,
        rev: Rev,
    },
}

/// What the pass has seen so far. Its memory grows with references and repositories: eight bytes a reference.
pub(super) struct Walk {
    pub found: Vec<Finding>,
    pub rows: u64,
    pub suspects: Vec<Suspect>,
    /// Blobs that references name and whose row is missing, or cannot be used.
    pub rowless: BTreeMap<Digest, ProblemKind>,
    /// Manifests whose bytes are not those of their digest.
    pub distrusted: BTreeSet<Digest>,
    pub usage: HashMap<u64, UsageRecord>,
    /// Bytes of links that are missing and still counted.
    pub unlinked: HashMap<u64, u64>,
    /// Newest revision by repository, of the feed.
    pub told: HashMap<u64, u64>,
    /// The feed is whole from its first row.
    pub feed_whole: bool,
    /// Newest revision by repository that a row speaks of.
    pub evidence: HashMap<u64, u64>,
    /// Repositories whose figures cannot be computed, for a row of theirs cannot be read.
    pub unsure: HashSet<u64>,
    missing_repos: HashSet<u64>,
    refs: HashSet<u64>,
    due: HashSet<u64>,
    excused: HashSet<u64>,
    lost: HashSet<u64>,
    names: HashSet<u64>,
    hasher: RandomState,
}

/// The repository that a row belongs to.
pub(super) enum Owner {
    There(RepoRecord),
    Unreadable,
    Gone,
}

impl Walk {
    /// Before the first row.
    pub fn new() -> Self {
        Self {
            found: Vec::new(),
            rows: 0,
            suspects: Vec::new(),
            rowless: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            usage: HashMap::new(),
            unlinked: HashMap::new(),
            told: HashMap::new(),
            feed_whole: true,
            evidence: HashMap::new(),
            unsure: HashSet::new(),
            missing_repos: HashSet::new(),
            refs: HashSet::new(),
            due: HashSet::new(),
            excused: HashSet::new(),
            lost: HashSet::new(),
            names: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Notes a problem that rows cannot mend.
    pub fn tell(&mut self, problem: Problem) {
        self.found.push(Finding {
            problem,
            mend: None,
        });
    }

    /// Notes a problem with its remedy.
    pub fn mend(&mut self, problem: Problem, mend: super::mend::Mend) {
        self.found.push(Finding {
            problem,
            mend: Some(mend),
        });
    }

    /// A reference that must be there.
    pub fn expect_ref(&mut self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        self.refs.insert(hash);
    }

    /// Whether an item asks for this row of `refs`.
    pub fn expects_ref(&self, key: &[u8]) -> bool {
        self.refs.contains(&self.hasher.hash_one(key))
    }

    /// A reference to this digest is missing, which is told of: what seems to follow from that is not.
    pub fn excuse(&mut self, id: RepoId, digest: &Digest) {
        for id in [id.0, 0] {
            let hash = self.hasher.hash_one((id, digest.as_key()));
            self.excused.insert(hash);
        }
    }

    /// Whether any reference is missing.
    pub fn excused_any(&self) -> bool {
        !self.excused.is_empty()
    }

    /// Whether a reference to the digest is missing in this repository; number 0: in any.
    pub fn is_excused(&self, id: RepoId, digest: &Digest) -> bool {
        let hash = self.hasher.hash_one((id.0, digest.as_key()));
        self.excused.contains(&hash)
    }

    /// A due row of this kind (its code) and subject is there.
    pub fn note_due(&mut self, kind: u8, what: &[u8]) {
        let hash = self.hasher.hash_one((kind, what));
        self.due.insert(hash);
    }

    /// Whether a due row of this kind (its code) and subject is there.
    pub fn has_due(&self, kind: u8, what: &[u8]) -> bool {
        self.due.contains(&self.hasher.hash_one((kind, what)))
    }

    /// The due rows are done with.
    pub fn forget_due(&mut self) {
        self.due.clear();
    }

    /// An item's row is gone though others speak of it; `true` the first time.
    pub fn lose(&mut self, id: RepoId, name: &Name<'_>, added: Rev) -> bool {
        self.unsure.insert(id.0);
        let hash = self.hasher.hash_one(keys::change(id, added, name));
        self.lost.insert(hash)
    }

    /// Whether this item's row is gone though others speak of it.
    pub fn is_lost(&self, id: RepoId, name: &Name<'_>, added: Rev) -> bool {
        let hash = self.hasher.hash_one(keys::change(id, added, name));
        self.lost.contains(&hash)
    }

    /// A name's row is there.
    pub fn note_name(&mut self, name: &str) {
        let hash = self.hasher.hash_one(name);
        self.names.insert(hash);
    }

    /// Whether the name's row is there.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.contains(&self.hasher.hash_one(name))
    }

    /// A row speaks of this revision.
    pub fn saw_rev(&mut self, id: RepoId, rev: u64) {
        let newest = self.evidence.entry(id.0).or_default();
        *newest = rev.max(*newest);
    }

    /// A row of this repository is there, but the repository's own is not; told once.
    pub fn repo_missing(&mut self, id: RepoId) {
        self.unsure.insert(id.0);
        if self.missing_repos.insert(id.0) {
            self.tell(
                Problem::new(
                    ProblemKind::RepoMissing,
                    format!("repository number {} has rows but none of its own", id.0),
                )
                .how("nothing is dropped; restore its row from a backup"),
            );
        }
    }
}

/// The repository's row.
pub(super) fn owner(r: &Read<'_>, id: RepoId) -> Result<Owner, RepoError> {
    Ok(match r.get(Table::Repos, &keys::repo(id))? {
        None => Owner::Gone,
        Some(row) => match RepoRecord::from_bytes(&row) {
            Ok(record) => Owner::There(record),
            Err(_) => Owner::Unreadable,
        },
    })
}

/// The repository's name for people, whatever state its row is in.
pub(super) fn repo_name(r: &Read<'_>, id: RepoId) -> Result<String, RepoError> {
    Ok(match owner(r, id)? {
        Owner::There(record) => record.name,
        _ => format!("(repository number {})", id.0),
    })
}

/// What a manifest names, if its bytes are those of its digest.
pub(super) fn inspected(
    walk: &mut Walk,
    inner: &Inner,
    r: &Read<'_>,
    digest: &Digest,
    media_type: &str,
) -> Option<Inspected> {
    let bytes = read::read_bytes(inner, r, digest).ok()?;
    if Digest::of(digest.algorithm(), &bytes) != *digest {
        walk.distrusted.insert(*digest);
        return None;
    }
    read::inspect(inner, &bytes, media_type)
}

/// Whether the repository shows the blob, or has the manifest at its head, whether or not that row can be read.
pub(super) fn holds(r: &Read<'_>, id: RepoId, digest: &Digest) -> Result<bool, RepoError> {
    Ok(r.get(Table::Refs, &keys::link(digest, id))?.is_some() || has_manifest(r, id, digest)?)
}

/// Whether the manifest is at the repository's head.
pub(super) fn has_manifest(r: &Read<'_>, id: RepoId, digest: &Digest) -> Result<bool, RepoError> {
    let (from, to) = keys::item_rows(id, &Name::manifest(digest), false).range();
    Ok(!r.scan(Table::Items, &from, &to, 1)?.is_empty())
}

/// Where the next page starts, if this one was full.
pub(super) fn next(rows: &[crate::store::Row], limit: usize) -> Option<Vec<u8>> {
    let (key, _) = rows.last().filter(|_| rows.len() == limit)?;
    Some([key.as_slice(), &[0]].concat())
}

/// Bytes for people, where they mean nothing else.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// The answer, or nothing if a row on the way cannot be read; any other failure ends the check.
pub(super) fn readable<T>(answer: Result<T, StoreError>) -> Result<Option<T>, RepoError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::Record { .. } | StoreError::RecordTooNew { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
