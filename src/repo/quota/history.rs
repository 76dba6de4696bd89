//! The bound of the history below a quota: beyond it the oldest goes, before its time.
//!
//! Whoever removes something that the history then keeps gives up as much of the oldest as is beyond the bound, before it
//! is answered; a commit that shows new bytes is refused while more is kept, and its request does the same and tries again.
//! So what is shown and what is kept never grow beyond quota and bound together, however fast somebody pushes and removes.
//! It is done by the collector's own steps ([`crate::repo::reclaim`]), and the freed files go at once. What these steps
//! cannot drop is named in the error.

use super::{prefixes, quota};
use crate::repo::Repos;
use crate::repo::bounded::{Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::reclaim::Due;
use crate::repo::rows::keys::{self, DueKind};
use crate::repo::rows::record::RepoRecord;
use crate::store::epochs::Subject;
use crate::store::record::Record;
use crate::store::{Get, Read, Row, Table};
use crate::types::{Digest, RepoId, RepoName};
use std::collections::HashMap;

/// Revisions that are given up one after the other before what was freed is removed from the disk.
const REVISIONS: usize = 16;
/// How often a commit finds the history too full again, because others fill it, before it is refused.
const TRIES: usize = 32;
/// Pages of due rows that are looked at in one go.
const PAGES: usize = 16;
/// Content files that are removed in one go.
const FILES: usize = 1000;
/// How much a quota's history keeps, and may keep.
#[derive(Debug, Clone, Copy)]
struct Kept {
    bytes: u64,
    bound: u64,
}

fn kept(get: &impl Get, prefix: &str) -> Result<Option<Kept>, RepoError> {
    let record = quota(get, prefix)?.filter(|record| record.held_to.is_none());
    Ok(record.map(|record| Kept {
        bytes: record.history,
        bound: record.history_bound(),
    }))
}

impl Repos {
    /// A commit that may find the history of a quota too full: then the oldest goes, and it is tried again.
    /// Of those who keep what cannot go, the error names the repository `name` alone: its client may not see the others,
    /// which the log names.
    pub(in crate::repo) async fn with_history<T, F>(
        &self,
        name: &RepoName,
        mut commit: impl FnMut() -> F,
    ) -> Result<T, RepoError>
    where
        F: Future<Output = Result<T, RepoError>>,
    {
        for _ in 1..TRIES {
            match commit().await {
                Err(RepoError::HistoryFull { prefix, .. }) => {
                    // Rare, and too large to lie in every commit's future.
                    let trimmed = Box::pin(self.trim(&prefix)).await;
                    trimmed.map_err(|error| told_to(name, error))?;
                }
                done => return done,
            }
        }
        commit().await
    }

    /// After something of a repository was removed: keeps the history below every quota within its bound, and frees at
    /// once what a blob that was removed had.
    pub(in crate::repo) async fn after_removal(&self, name: &RepoName, removed: Option<&Digest>) {
        // What was removed is removed all the same; the next push tries again, or is told.
        match Box::pin(self.tidy(name, removed)).await {
            Ok(()) | Err(RepoError::HistoryFull { .. }) => {}
            Err(error) => {
                tracing::warn!(repo = %name, %error, "what was removed is freed by the next sweep");
            }
        }
    }

    async fn tidy(&self, name: &RepoName, removed: Option<&Digest>) -> Result<(), RepoError> {
        if self.0.is_unlimited() {
            return Ok(());
        }
        let epoch = self.0.quotas_epoch();
        let wanted = name.clone();
        let over = self.hop(move |inner, r| {
            if !super::any(r)? {
                inner.unlimited.found(epoch);
                return Ok(None);
            }
            let (mut over, mut is_below) = (Vec::new(), false);
            for prefix in prefixes(wanted.as_str()) {
                if let Some(kept) = kept(r, prefix)? {
                    is_below = true;
                    if kept.bytes > kept.bound {
                        over.push(prefix.to_owned());
                    }
                }
            }
            Ok(is_below.then_some(over))
        });
        let Some(over) = over.await? else {
            return Ok(());
        };
        if let Some(digest) = removed {
            let due = Due::orphan(digest);
            self.reclaim(vec![due], false).await?;
            self.unlink_some(FILES).await?;
        }
        for prefix in over {
            self.trim(&prefix).await?;
        }
        Ok(())
    }

    /// Keeps the history below every quota within its bound.
    pub async fn trim_histories(&self) -> Result<(), RepoError> {
        if self.0.is_unlimited() {
            return Ok(());
        }
        self.0.turns.forget();
        for quota in self.quotas().await? {
            if !quota.counting && quota.history > quota.history_limit {
                match self.trim(&quota.prefix).await {
                    Ok(()) => {}
                    Err(error @ RepoError::HistoryFull { .. }) => tracing::warn!(%error),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Gives up the oldest history below a prefix until the rest is within its bound, and frees what only it kept.
    async fn trim(&self, prefix: &str) -> Result<(), RepoError> {
        let turn = self.0.turns.of(prefix);
        let mut seen = turn.seen.lock().await;
        let mut given_up = 0;
        loop {
            let epochs = &self.0.epochs;
            seen.as_of(epochs.now(Subject::Settings));
            let changes = epochs.now(Subject::Below(prefix));
            let Some(kept) = self.kept(prefix).await? else {
                return Ok(());
            };
            if kept.bytes <= kept.bound {
                break;
            }
            if let Some(by) = seen.stuck(changes) {
                return Err(full(prefix, kept, by.to_vec()));
            }
            let Some(due) = self.oldest_history(prefix, &mut seen.from).await? else {
                // What is due anyway may keep some: rows of deleted repositories, removed manifests.
                self.free().await?;
                match self.kept(prefix).await? {
                    Some(now) if now.bytes > now.bound => {
                        // That was of use: there may be more of it.
                        if now.bytes < kept.bytes {
                            continue;
                        }
                        let by = self.keep_most(prefix).await?;
                        seen.is_stuck(changes, by.clone());
                        return Err(full(prefix, now, by));
                    }
                    _ => return Ok(()),
                }
            };
            self.reclaim(vec![due], true).await?;
            given_up += 1;
            if given_up % REVISIONS == 0 {
                self.free().await?;
            }
        }
        if given_up > 0 {
            tracing::info!(
                quota = prefix,
                revisions = given_up,
                "the oldest history went before its time: more was kept than the quota lets it"
            );
            self.free().await?;
        }
        Ok(())
    }

    async fn kept(&self, prefix: &str) -> Result<Option<Kept>, RepoError> {
        let prefix = prefix.to_owned();
        self.hop(move |_, r| kept(r, &prefix)).await
    }

    /// Looks at what is due, and removes the files of what nothing references any more.
    async fn free(&self) -> Result<(), RepoError> {
        let mut from = Vec::new();
        for _ in 0..PAGES {
            let page = self.due(from, false, 128).await?;
            let Some(last) = page.last() else {
                break;
            };
            from = last.after();
            self.reclaim(page, false).await?;
        }
        self.unlink_some(FILES).await
    }

    /// The history row of the repositories below a prefix whose time comes first, from a place on; what was passed over
    /// is looked at again only when there is nothing behind it.
    async fn oldest_history(
        &self,
        prefix: &str,
        from: &mut Vec<u8>,
    ) -> Result<Option<Due>, RepoError> {
        let walk = Walk {
            rows: Pages::new(Table::Due, (from.clone(), Vec::new())),
            is_whole: from.is_empty(),
        };
        let prefix = prefix.to_owned();
        let found = self.long_read(
            |inner| &inner.histories,
            None,
            walk,
            move |_, r, walk| {
                Ok(match walk.go_on(r, &prefix)? {
                    Walked::Found(due) => Some(vec![due]),
                    Walked::Spent => None,
                    Walked::End => Some(Vec::new()),
                })
            },
        );
        let found = found.await?.pop();
        *from = found
            .as_ref()
            .map_or_else(Vec::new, |due| due.key().to_vec());
        Ok(found)
    }
}

/// A walk over the due rows, on its way from hop to hop.
#[derive(Debug, Clone)]
struct Walk {
    rows: Pages,
    /// It began at the first of them.
    is_whole: bool,
}

/// What a hop of it came to.
enum Walked {
    Found(Due),
    Spent,
    End,
}

impl Walk {
    /// Goes on for one hop, or until a row of the history below the prefix is found.
    fn go_on(&mut self, r: &Read<'_>, prefix: &str) -> Result<Walked, RepoError> {
        let mut names = HashMap::new();
        loop {
            match self.rows.next(r, 1)? {
                Next::Rows(page) => {
                    if let Some(due) = first_below(r, page, prefix, &mut names)? {
                        return Ok(Walked::Found(due));
                    }
                }
                Next::Spent => return Ok(Walked::Spent),
                Next::End if self.is_whole => return Ok(Walked::End),
                Next::End => {
                    self.rows = Pages::new(Table::Due, (Vec::new(), Vec::new()));
                    self.is_whole = true;
                }
            }
        }
    }
}

fn first_below(
    r: &Read<'_>,
    page: Vec<Row>,
    prefix: &str,
    names: &mut HashMap<u64, bool>,
) -> Result<Option<Due>, RepoError> {
    for (key, value) in page {
        let due = Due::new(key, value);
        if let Some(id) = due.history()
            && is_below(r, id, prefix, names)?
        {
            return Ok(Some(due));
        }
    }
    Ok(None)
}

/// The error, with who keeps most.
fn full(prefix: &str, kept: Kept, by: Vec<(String, u64)>) -> RepoError {
    RepoError::HistoryFull {
        prefix: prefix.to_owned(),
        kept: kept.bytes,
        bound: kept.bound,
        by,
    }
}

/// The error as the client of one repository gets it: the others are one sum.
fn told_to(name: &RepoName, mut error: RepoError) -> RepoError {
    tracing::warn!(%error, "a push was refused");
    if let RepoError::HistoryFull { by, .. } = &mut error {
        let (own, others): (Vec<_>, Vec<_>) = by
            .drain(..)
            .partition(|(keeper, _)| keeper == name.as_str());
        by.extend(own);
        if !others.is_empty() {
            let bytes = others.iter().map(|(_, bytes)| bytes).sum();
            by.push(("other repositories".to_owned(), bytes));
        }
    }
    error
}

/// Whether the repository is below the prefix; `known` has those that were asked for.
fn is_below(
    r: &Read<'_>,
    id: RepoId,
    prefix: &str,
    known: &mut HashMap<u64, bool>,
) -> Result<bool, RepoError> {
    if let Some(known) = known.get(&id.0) {
        return Ok(*known);
    }
    let row = r.get(Table::Repos, &keys::repo(id))?;
    let record = row.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
    let name = record.and_then(|record| record.name.parse::<RepoName>().ok());
    let is_below = name.is_some_and(|name| name.is_under(prefix));
    known.insert(id.0, is_below);
    Ok(is_below)
}

impl Due {
    /// The repository whose history the row asks to look at.
    fn history(&self) -> Option<RepoId> {
        let (_, kind, what) = keys::due_parts(self.key())?;
        let id = what.first_chunk::<8>()?;
        (kind == DueKind::History).then_some(RepoId(u64::from_be_bytes(*id)))
    }

    /// A look at a digest that lost a reference just now.
    fn orphan(digest: &Digest) -> Self {
        Self::new(keys::due(0, DueKind::Orphan, digest.as_key()), Vec::new())
    }
}
