//! A search for what is live and names a digest, before a change that may only be made if nothing does.
//!
//! The rows that name it are looked at in hops; after that in hops, too, the changes that were made meanwhile. The change
//! itself then looks at the few changes since. That is exact, because what becomes live does so in a revision that has a
//! row in `changes` as long as it is live, and what an item names never changes.

use super::{LOOKS, Next, Pages, left};
use crate::repo::error::RepoError;
use crate::repo::keys::{self, Class, Name};
use crate::repo::reclaim::OwnName;
use crate::repo::rows;
use crate::store::{Get, Table};
use crate::types::{Digest, RepoId, Rev};

/// What names the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repo) enum What {
    /// Tags that mean it.
    Tags,
    /// Manifests that need it, also those that named it before it came.
    Manifests,
}

/// A search on its way.
#[derive(Debug, Clone)]
pub(in crate::repo) struct Search {
    id: RepoId,
    digest: Digest,
    what: What,
    refs: Pages,
    changes: Pages,
    found: Vec<OwnName>,
}

/// What a change finds that makes use of a search.
pub(in crate::repo) enum Rest {
    /// What the changes since have made live.
    Found(Vec<OwnName>),
    /// Too much was changed since: go on with the search.
    TooMuch,
}

impl Search {
    /// Begins; `head` is the newest revision of the repository in this read.
    pub fn begin(id: RepoId, head: Rev, digest: Digest, what: What) -> Self {
        let refs = match what {
            What::Tags => keys::refs_in(&digest, id, Class::Tag).range(),
            What::Manifests => {
                let (from, _) = keys::refs_in(&digest, id, Class::Manifest).range();
                let (_, to) = keys::refs_in(&digest, id, Class::Wanted).range();
                (from, to)
            }
        };
        let (_, end) = keys::of_repo(id).range();
        let changes = (keys::change_head(id, Rev(head.0 + 1)), end);
        Self {
            id,
            digest,
            what,
            refs: Pages::new(Table::Refs, refs),
            changes: Pages::new(Table::Changes, changes),
            found: Vec::new(),
        }
    }

    /// The repository.
    pub fn id(&self) -> RepoId {
        self.id
    }

    /// Goes on for one hop; whether it has come to its end or has found `enough`.
    pub fn go_on(&mut self, get: &impl Get, enough: usize) -> Result<bool, RepoError> {
        loop {
            if self.found.len() >= enough {
                return Ok(true);
            }
            match self.refs.next(get, 1)? {
                Next::Rows(page) => {
                    for (key, _) in page {
                        if self.found.len() >= enough {
                            self.refs.back_to(key);
                            return Ok(true);
                        }
                        if let Some((name, added)) = self.namer(&key)
                            && self.is_live(get, &name, added)?
                        {
                            self.found.push(name);
                        }
                    }
                }
                Next::Spent => return Ok(false),
                Next::End => break,
            }
        }
        loop {
            if self.found.len() >= enough {
                return Ok(true);
            }
            // What is made meanwhile is found by the change.
            let mut ahead = self.changes.clone();
            match ahead.next(get, self.cost())? {
                Next::Rows(page) => {
                    self.found.extend(self.of_changes(get, &page)?);
                    ahead.go_on_after_end();
                    self.changes = ahead;
                }
                Next::Spent => return Ok(false),
                Next::End => return Ok(true),
            }
        }
    }

    /// Takes what was found so far.
    pub fn take(&mut self) -> Vec<OwnName> {
        std::mem::take(&mut self.found)
    }

    /// What was found so far.
    pub fn found(&self) -> &[OwnName] {
        &self.found
    }

    /// Whether every row that named the digest was looked at, and the changes since up to now.
    pub fn ended(&self) -> bool {
        self.refs.ended()
    }

    /// In the change: looks at what was changed since.
    pub fn rest(&self, get: &impl Get) -> Result<Rest, RepoError> {
        let mut changes = self.changes.clone();
        let mut found = Vec::new();
        loop {
            // The other half of what it may look at is for the change itself.
            if !changes.ended() && left(get) < LOOKS / 2 {
                return Ok(Rest::TooMuch);
            }
            match changes.next(get, self.cost())? {
                Next::Rows(page) => found.extend(self.of_changes(get, &page)?),
                Next::Spent => return Ok(Rest::TooMuch),
                Next::End => return Ok(Rest::Found(found)),
            }
        }
    }

    /// Looks that a row of `changes` costs beside its own.
    fn cost(&self) -> usize {
        match self.what {
            What::Tags => 1,
            What::Manifests => 3,
        }
    }

    /// Of rows of `changes`, what is live since then and names the digest.
    fn of_changes(
        &self,
        get: &impl Get,
        page: &[crate::store::Row],
    ) -> Result<Vec<OwnName>, RepoError> {
        let mut found = Vec::new();
        for (key, _) in page {
            let (Some(name), Some(rev)) = (OwnName::of_change(key), keys::rev_of_change(key))
            else {
                continue;
            };
            let names = match (&name, self.what) {
                (OwnName::Tag(_), What::Tags) => true,
                (OwnName::Manifest(parent), What::Manifests) => {
                    let (id, digest) = (self.id, &self.digest);
                    let key = |class| keys::manifest_ref(digest, id, class, parent, rev);
                    get.get(Table::Refs, &key(Class::Manifest))?.is_some()
                        || get.get(Table::Refs, &key(Class::Wanted))?.is_some()
                }
                _ => false,
            };
            if names && self.is_live(get, &name, rev)? {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// Who names the digest in this row of `refs`.
    fn namer(&self, key: &[u8]) -> Option<(OwnName, Rev)> {
        let (_, _, rest) = keys::ref_head(key)?;
        match self.what {
            What::Tags => {
                let (tag, added) = keys::tag_of_ref(rest)?;
                Some((OwnName::Tag(tag.to_owned()), added))
            }
            What::Manifests => {
                let (parent, added) = keys::parent_of(rest)?;
                Some((OwnName::Manifest(parent), added))
            }
        }
    }

    fn is_live(&self, get: &impl Get, name: &OwnName, added: Rev) -> Result<bool, RepoError> {
        let live = rows::live(get, self.id, &name.as_name())?;
        Ok(live.is_some_and(|(rev, item)| {
            let is_it = match name.as_name() {
                Name::Tag(_) => item.digest() == Some(self.digest),
                Name::Manifest(_) => true,
            };
            rev == added && is_it
        }))
    }
}
