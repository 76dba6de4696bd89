//! What a deleted repository leaves to do: its rows go page by page, as the row in `due` asks.
//!
//! Which rows go, and when, is [`crate::repo::reclaim`]'s. Here is only where that row stands and whether there is more to do, for
//! those who tell people of it.

use crate::repo::reclaim::Due;
use crate::repo::rows::keys::{self, DueKind};
use crate::repo::{RepoError, Repos};
use crate::store::{Get as _, Table};
use crate::types::RepoId;
use serde::{Deserialize, Serialize};

/// A repository that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Its number.
    repo: u64,
    /// When (running ms).
    at: u64,
}

impl Deleted {
    pub(in crate::repo) fn new(id: RepoId, at: u64) -> Self {
        let repo = id.0;
        Self { repo, at }
    }
}

/// What there is to do.
#[derive(Debug)]
pub enum Removal {
    /// Rows, which [`Repos::reclaim`] drops a page of.
    Rows(Due),
    /// Nothing; its own row goes a lease later.
    Over,
    /// Rows that could not be read; they are looked at again later.
    Unread,
}

impl Repos {
    /// What a deleted repository leaves to do now.
    pub async fn removal(&self, deleted: Deleted) -> Result<Removal, RepoError> {
        let id = RepoId(deleted.repo);
        self.hop(move |_, r| {
            let key = keys::due(deleted.at, DueKind::Repo, &keys::repo(id));
            if let Some(value) = r.get(Table::Due, &key)? {
                return Ok(Removal::Rows(Due::new(key, value)));
            }
            let (from, to) = keys::of_repo(id).range();
            let left = r.scan(Table::Items, &from, &to, 1)?;
            Ok(if left.is_empty() {
                Removal::Over
            } else {
                Removal::Unread
            })
        })
        .await
    }
}
