//! The check of the rows: recomputes what is derived, and says what sources contradict each other. The writers of these
//! rows are [`super::edit`], [`super::rows`] and [`super::reclaim`]; what they promise is what is checked here.
//!
//! Everything is read in pages; a difference is told of only if one read shows all of it, and mended only in a
//! transaction that finds the same. Sources (items, repositories, sizes) are never invented and never dropped.
//!
//! `repos` has the rows about a repository as a whole, `named` those about items and what they name.

mod content;
mod due;
mod mend;
mod named;
mod report;
mod repos;
mod uploads;
mod walk;

pub(in crate::repo) use content::content_of;
pub use content::{CheckedBlob, Contents, Verdict};
pub use report::{CameFrom, Level, Problem, ProblemKind};
pub use tags::Touched;

use super::error::RepoError;
use super::{Inner, Repos};
use crate::blobs::{Purpose, UploadFile};
use crate::store::key::Key;
use crate::store::{Get, Lane, Need, Read, StoreError, Table};
use crate::types::Digest;
use named::{history, items, refs, tags};
use repos::{heads, pins, quotas, trees, usage};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use walk::Walk;

/// What the pass over the rows found.
#[derive(Debug, Default)]
pub struct RowFindings {
    /// Rows looked at.
    pub examined: u64,
    /// What is wrong, and what was done about it.
    pub problems: Vec<Problem>,
    /// Digests whose blob's row is missing or cannot be used; their content may be there.
    pub rowless: BTreeMap<Digest, ProblemKind>,
    /// Manifests whose bytes are not those of their digest.
    pub distrusted: BTreeSet<Digest>,
}

/// How to look at the rows.
#[derive(Debug, Clone)]
pub struct RowsOptions {
    /// Mend what can be mended.
    pub repair: bool,
    /// A server works on them at the same time.
    pub online: bool,
    /// Blobs whose sizes cannot be trusted: figures that rest on them are not looked at.
    pub unsure: BTreeSet<Digest>,
}

type Page = fn(&mut Walk, &Inner, &Read<'_>, &[u8]) -> Result<Option<Vec<u8>>, RepoError>;

impl Repos {
    /// One pass over all rows of all repositories.
    pub async fn check_rows(&self, options: RowsOptions) -> Result<RowFindings, RepoError> {
        let mut pass = Pass {
            repos: self,
            repair: options.repair,
            walk: Walk::new(),
            problems: Vec::new(),
        };
        pass.pages(|w, _, r, from| due::page(w, r, from)).await?;
        pass.pages(|w, _, r, from| heads::feed(w, r, from)).await?;
        pass.pages(items::page).await?;
        pass.pages(refs::page).await?;
        pass.pages(refs::mentions).await?;
        pass.pages(|w, _, r, from| content::blobs(w, r, from))
            .await?;
        pass.pages(|w, _, r, from| history::referrers(w, r, from))
            .await?;
        pass.pages(|w, _, r, from| history::changes(w, r, from))
            .await?;
        pass.pages(|w, _, r, from| pins::pins(w, r, from)).await?;
        pass.pages(|w, _, r, from| pins::snapshots(w, r, from))
            .await?;
        pass.pages(|w, _, r, from| heads::repos(w, r, from)).await?;
        pass.pages(|w, _, r, from| heads::names(w, r, from)).await?;
        pass.pages(if options.online {
            |w, _, r, from| uploads::condemned(w, r, from, true)
        } else {
            |w, _, r, from| uploads::condemned(w, r, from, false)
        })
        .await?;
        pass.once(due::confirm).await?;
        pass.once(|w, _, r| trees::strays(w, r)).await?;
        if pass.repair {
            let repos = self.clone();
            self.block(move || Ok(repos.0.trees.reload(&repos.0.store)?))
                .await?;
        }
        let unsure = Arc::new(options.unsure);
        pass.once(move |w, _, r| {
            tags::unsure(w, r, &unsure)?;
            usage::all(w, r)?;
            quotas::all(w, r)
        })
        .await?;
        Ok(RowFindings {
            examined: pass.walk.rows,
            problems: pass.problems,
            rowless: pass.walk.rowless,
            distrusted: pass.walk.distrusted,
        })
    }

    /// The rows of uploads and fills against the files of both that were there a moment ago. Those in this process's
    /// memory are left alone.
    pub async fn check_uploads(
        &self,
        files: Vec<UploadFile>,
        repair: bool,
        online: bool,
    ) -> Result<Vec<Problem>, RepoError> {
        let mut pass = Pass {
            repos: self,
            repair,
            walk: Walk::new(),
            problems: Vec::new(),
        };
        let by_id = |files: Vec<UploadFile>| files.into_iter().map(|f| (f.name.id, f)).collect();
        let (of_fills, of_sessions): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|file| file.name.purpose == Purpose::Fill);
        let (of_fills, of_sessions): (HashMap<_, _>, HashMap<_, _>) =
            (by_id(of_fills), by_id(of_sessions));
        pass.once(move |walk, inner, r| {
            let is_open = |id| inner.sessions.get(id).is_some();
            uploads::uploads(walk, r, &of_sessions, &is_open)?;
            let is_open = |id| inner.fills.writes(id);
            uploads::fills(walk, r, &of_fills, online, &is_open)
        })
        .await?;
        Ok(pass.problems)
    }

    /// The number that the next repository gets.
    pub async fn next_number(&self) -> Result<u64, RepoError> {
        self.hop(move |_, r| {
            let next = r.get(Table::Meta, b"next_repo")?;
            let next = next.as_deref().map_or(1, super::rows::number);
            let last = r.scan_back(Table::Repos, &[], &[], 1)?.pop();
            let last = last.map_or(0, |(key, _)| super::rows::number(&key));
            Ok(next.max(last + 1))
        })
        .await
    }

    /// What slow work notes for its next run, by name; empty if it never did.
    pub async fn note_of(&self, name: &'static str) -> Result<Vec<u8>, RepoError> {
        self.hop(move |_, r| {
            let row = r.get(Table::Cursors, &Key::new().text(name).done())?;
            Ok(row.unwrap_or_default())
        })
        .await
    }

    /// Notes something for the next run; nothing: forgets it.
    pub async fn set_note(&self, name: &'static str, value: Vec<u8>) -> Result<(), RepoError> {
        let key = Key::new().text(name).done();
        let write = self
            .0
            .store
            .write(Lane::Background, Need::Keeps, "check.note", move |tx| {
                if value.is_empty() {
                    Ok::<_, RepoError>(tx.delete(Table::Cursors, &key)?)
                } else {
                    Ok(tx.put(Table::Cursors, &key, &value)?)
                }
            });
        write.await
    }

    /// Running time now, in ms.
    pub fn running_ms(&self) -> u64 {
        self.0.store.running_ms()
    }
}

/// The pass as it moves from read to read.
struct Pass<'a> {
    repos: &'a Repos,
    repair: bool,
    walk: Walk,
    problems: Vec<Problem>,
}

impl Pass<'_> {
    /// All pages of one table; what a page finds is mended before the next one is read.
    async fn pages(&mut self, page: Page) -> Result<(), RepoError> {
        let mut from = Vec::new();
        loop {
            let start = std::mem::take(&mut from);
            let next = self
                .read(move |walk, inner, r| page(walk, inner, r, &start))
                .await?;
            self.settle().await?;
            match next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    async fn once(
        &mut self,
        look: impl FnOnce(&mut Walk, &Inner, &Read<'_>) -> Result<(), RepoError> + Send + 'static,
    ) -> Result<(), RepoError> {
        self.read(look).await?;
        self.settle().await
    }

    async fn read<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&mut Walk, &Inner, &Read<'_>) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        let walk = std::mem::replace(&mut self.walk, Walk::new());
        // What was noted in a read that failed cannot be taken back: such a check ends, and is begun again.
        let mut once = Some((walk, look));
        let (walk, found) = self
            .repos
            .hop(move |inner, r| {
                let (mut walk, look) = once.take().ok_or(StoreError::Reopening)?;
                let found = look(&mut walk, inner, r)?;
                Ok((walk, found))
            })
            .await?;
        self.walk = walk;
        Ok(found)
    }

    async fn settle(&mut self) -> Result<(), RepoError> {
        let found = std::mem::take(&mut self.walk.found);
        if !found.is_empty() {
            let told = self.repos.mend(found, self.repair).await?;
            if self.repair {
                // Links that were missing are there by now, and counted like the others.
                self.walk.unlinked.clear();
            }
            self.problems.extend(told);
        }
        Ok(())
    }
}
