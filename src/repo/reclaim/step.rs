//! The small things that a plan asks for; each is done in a transaction and is safe to do again.

use crate::store::Table;
use crate::types::{Digest, ItemName, RepoId, Rev};

/// How far a step has come in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// To its end.
    All,
    /// So many of its parts, at least one: the rest is for another transaction.
    Part(usize),
}

/// One small thing to do in a transaction, or a list of such; safe to do again.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The due row has been dealt with.
    Done { key: Vec<u8> },
    /// The due row is to come again later.
    Later {
        key: Vec<u8>,
        at: u64,
        value: Vec<u8>,
    },
    /// A lease ended.
    Lease {
        key: Vec<u8>,
        digest: Digest,
        id: RepoId,
    },
    /// A digest may have no reference left.
    Orphan { key: Vec<u8>, digest: Digest },
    /// A manifest may have no tag left.
    Untagged {
        key: Vec<u8>,
        id: RepoId,
        digest: Digest,
        since: u64,
    },
    /// A tag lists what refers to a manifest that is gone.
    List {
        key: Vec<u8>,
        id: RepoId,
        subject: Digest,
        tag: String,
        digest: Digest,
    },
    /// Those manifests are to be looked at.
    Suspect { id: RepoId, digests: Vec<Digest> },
    /// Revisions before this one can be asked for no more.
    Horizon { id: RepoId, rev: Rev },
    /// What a manifest named is let go.
    Release {
        id: RepoId,
        parent: Digest,
        added: Rev,
        children: Vec<Digest>,
        at_once: bool,
    },
    /// Links to those blobs end, unless a live manifest needs them.
    Lapse { id: RepoId, children: Vec<Digest> },
    /// An item's row goes.
    Row {
        id: RepoId,
        name: ItemName,
        past: bool,
        added: Rev,
        /// Whatever keeps it: its repository is deleted.
        at_once: bool,
    },
    /// A snapshot's time ended.
    Expire {
        key: Vec<u8>,
        id: RepoId,
        title: String,
    },
    /// Change rows of a revision go, as far as no item needs them.
    Tidy {
        id: RepoId,
        rev: Rev,
        names: Vec<ItemName>,
    },
    /// What a manifest named is let go: the revision that added it is taken back.
    Unname {
        id: RepoId,
        parent: Digest,
        added: Rev,
        children: Vec<Digest>,
    },
    /// What a revision made of those names is taken back.
    Unstage {
        id: RepoId,
        rev: Rev,
        names: Vec<ItemName>,
    },
    /// Rows of a deleted repository go unseen.
    Erase { table: Table, keys: Vec<Vec<u8>> },
    /// A deleted repository has nothing left.
    EndRepo { key: Vec<u8>, id: RepoId },
}

impl Step {
    /// The first parts of a list are done.
    pub fn forget(&mut self, parts: usize) {
        match self {
            Self::Release { children, .. }
            | Self::Unname { children, .. }
            | Self::Lapse { children, .. } => {
                children.drain(..parts.min(children.len()));
            }
            Self::Suspect { digests, .. } => {
                digests.drain(..parts.min(digests.len()));
            }
            Self::Tidy { names, .. } | Self::Unstage { names, .. } => {
                names.drain(..parts.min(names.len()));
            }
            _ => {}
        }
    }

    /// Row changes, at most.
    pub fn cost(&self) -> usize {
        match self {
            Self::Done { .. } | Self::Horizon { .. } => 1,
            Self::Later { .. } => 2,
            Self::Lease { .. } | Self::Orphan { .. } | Self::EndRepo { .. } => 4,
            Self::Row { .. } => 10,
            Self::Expire { .. } => 6,
            Self::List { .. } => 14,
            Self::Untagged { .. } => 17,
            Self::Suspect { digests, .. } => 2 * digests.len(),
            // It looks at more rows than it changes.
            Self::Lapse { children, .. } => 16 * children.len(),
            Self::Release { children, .. } => 6 * children.len(),
            Self::Unname { children, .. } => 7 * children.len(),
            Self::Unstage { names, .. } => 16 * names.len(),
            Self::Tidy { names, .. } => names.len() + 1,
            Self::Erase { keys, .. } => keys.len(),
        }
    }
}
