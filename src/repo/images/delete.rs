//! Deletes that depend on what else is live: of a blob that manifests may need, of a manifest with all its tags. What
//! names the digest is searched for outside the writer ([`Search`]). A search that ends within one hop waits for nobody.

use crate::repo::bounded::{Asker, Rest, Search, What};
use crate::repo::edit::{self, Edit};
use crate::repo::error::RepoError;
use crate::repo::images::manifest;
use crate::repo::rows::keys;
use crate::repo::stage::{NewStage, PATIENCE, Stage};
use crate::repo::{Repos, rows, visible};
use crate::store::feed::FeedKind;
use crate::store::{Get, Need, Table};
use crate::types::{Digest, ItemName, Kind, RepoId, RepoName, Rev, wall_ms};
use std::sync::Arc;

/// The action's name in the history.
const DELETE: &str = "manifest.delete";
/// Tags that one transaction of a manifest's deletion removes.
const TAGS_AT_ONCE: usize = 400;
/// Row changes of a tag that is closed, at most.
const TAG_ROWS: usize = 8;
/// How often a search goes on because too much was changed since.
const ROUNDS: usize = 100;

/// What a transaction made of a search.
enum Made {
    /// All of it.
    Done,
    /// Something; there may be more to find.
    Some,
    /// The repository is another one by now.
    Begin,
}

impl Repos {
    /// Drops the repository's link to a blob; refused while a manifest at the head needs it.
    pub async fn delete_blob(
        &self,
        name: &RepoName,
        digest: &Digest,
        asker: Option<&Asker>,
    ) -> Result<(), RepoError> {
        let digest = *digest;
        let mut search = None;
        for _ in 0..ROUNDS {
            let done = self
                .search((name, asker), digest, What::Manifests, (search, 1))
                .await?;
            refuse(&digest, done.found())?;
            let (wanted, told) = (name.clone(), done.clone());
            let at_ms = wall_ms();
            let change = self.unless_staged(Need::Removes, "blob.delete", move |tx| {
                let (id, record) = manifest::writable(tx, &wanted)?;
                // A manifest that it closed is at the head still, and may need the blob.
                edit::not_staged(&record)?;
                is_linked(tx, id, &digest)?;
                if id != told.id() {
                    return Ok(Made::Begin);
                }
                match told.rest(tx)? {
                    Rest::TooMuch => return Ok(Made::Some),
                    Rest::Found(found) => refuse(&digest, &found)?,
                }
                let size = rows::size(tx, &digest)?;
                rows::unlink(tx, id, &digest, size)?;
                let what = format!("{wanted}@{digest}");
                rows::tell_of(tx, FeedKind::Blob, id, (&what, at_ms), "blob.delete")?;
                Ok(Made::Done)
            });
            search = match change.await? {
                Made::Done => {
                    self.after_removal(name, Some(&digest)).await;
                    return Ok(());
                }
                Made::Some => Some(done),
                Made::Begin => None,
            };
        }
        Err(RepoError::Restless)
    }

    /// Removes a manifest and every tag that means it, all at once.
    pub async fn delete_manifest(
        &self,
        name: &RepoName,
        digest: &Digest,
        who: &str,
        asker: Option<&Asker>,
    ) -> Result<(), RepoError> {
        let digest = *digest;
        let mut search = None;
        for _ in 0..ROUNDS {
            let done = self
                .search((name, asker), digest, What::Tags, (search, TAGS_AT_ONCE))
                .await?;
            if done.found().len() >= TAGS_AT_ONCE {
                self.delete_staged((name, asker), digest, who).await?;
                self.after_removal(name, None).await;
                return Ok(());
            }
            search = match self.delete_at_once(name, digest, who, done.clone()).await? {
                Made::Done => {
                    self.after_removal(name, None).await;
                    return Ok(());
                }
                Made::Some => Some(done),
                Made::Begin => None,
            };
        }
        Err(RepoError::Restless)
    }

    /// In one transaction, if the search has come to its end by then.
    async fn delete_at_once(
        &self,
        name: &RepoName,
        digest: Digest,
        who: &str,
        told: Search,
    ) -> Result<Made, RepoError> {
        let (context, wanted) = (self.context(who, DELETE), name.clone());
        let change = self.unless_staged(Need::Removes, DELETE, move |tx| {
            let (id, record) = manifest::writable(tx, &wanted)?;
            edit::not_staged(&record)?;
            if id != told.id() {
                return Ok(Made::Begin);
            }
            let more = match told.rest(tx)? {
                Rest::Found(more) if told.found().len() + more.len() <= TAGS_AT_ONCE => more,
                _ => return Ok(Made::Some),
            };
            let mut change = Edit::open(tx, id, record, &context)?;
            for tag in told.found().iter().chain(&more) {
                change.delete_tag_of(tag, &digest)?;
            }
            if !change.delete_manifest(&digest)? {
                return Err(RepoError::ManifestUnknown(digest.to_string()));
            }
            change.finish()?;
            Ok(Made::Done)
        });
        change.await
    }

    /// As a stage, for one that more tags mean than a transaction takes: they are found once nobody changes them any more. To
    /// its end, whether or not the caller waits for it.
    async fn delete_staged(
        &self,
        (name, asker): (&RepoName, Option<&Asker>),
        digest: Digest,
        who: &str,
    ) -> Result<(), RepoError> {
        let wanted = name.clone();
        let id = self.hop(move |_, r| {
            let found = visible(r, wanted.as_str(), Kind::Oci)?;
            let (id, _) = found.ok_or_else(|| RepoError::NameUnknown(wanted.clone()))?;
            Ok(id)
        });
        let new = NewStage {
            of: vec![(name.clone(), id.await?)],
            job: None,
            who: who.to_owned(),
            why: DELETE,
            need: Need::Removes,
        };
        let (this, name, asker) = (self.clone(), name.clone(), asker.cloned());
        self.to_its_end(async move {
            let stage = this.begin_stage(new).await?;
            let closed = this.close_all(&stage, (&name, asker.as_ref()), digest);
            let closed = closed.await;
            stage.end(closed).await.map(drop)
        })
        .await
    }

    /// Closes a manifest and all its tags in a stage.
    async fn close_all(
        &self,
        stage: &Stage,
        of: (&RepoName, Option<&Asker>),
        digest: Digest,
    ) -> Result<(), RepoError> {
        let search = self.search_once(of, digest, What::Tags, (None, usize::MAX), true);
        let tags = Arc::new(search.await?.take());
        let close =
            move |edit: &mut Edit<'_, '_>, tag: &ItemName| Ok(edit.delete_tag_of(tag, &digest)?);
        stage.write_all(0, tags, |_| TAG_ROWS, close).await?;
        let last = move |edit: &mut Edit<'_, '_>| Ok(edit.delete_manifest(&digest)?);
        let was_there = stage.write(0, last).await?;
        was_there
            .then_some(())
            .ok_or_else(|| RepoError::ManifestUnknown(digest.to_string()))
    }

    /// Begins a search, or goes on with one, until it has come to its end or has found `enough`. What a stage has written is
    /// no answer yet: it waits for the end of one, and begins again.
    async fn search(
        &self,
        of: (&RepoName, Option<&Asker>),
        digest: Digest,
        what: What,
        (before, enough): (Option<Search>, usize),
    ) -> Result<Search, RepoError> {
        let (mut before, mut waiting) = (before, self.0.stages.waiting(PATIENCE));
        loop {
            let found = self.search_once(of, digest, what, (before.take(), enough), false);
            match found.await {
                Err(RepoError::Staged(name)) => {
                    if !waiting.ended().await {
                        return Err(RepoError::Staged(name));
                    }
                }
                done => return done,
            }
        }
    }

    /// The same once; `staged`: by who holds the stage of the repository and has written nothing yet.
    async fn search_once(
        &self,
        (name, asker): (&RepoName, Option<&Asker>),
        digest: Digest,
        what: What,
        (before, enough): (Option<Search>, usize),
        staged: bool,
    ) -> Result<Search, RepoError> {
        let name = name.clone();
        self.long_read(
            |inner| &inner.searches,
            asker,
            before,
            move |_, r, state| {
                let (id, record) = visible(r, name.as_str(), Kind::Oci)?
                    .ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
                if !staged {
                    edit::not_staged(&record)?;
                }
                let mut search = if let Some(search) = state.take() {
                    search
                } else {
                    if what == What::Manifests {
                        is_linked(r, id, &digest)?;
                    }
                    Search::begin(id, Rev(record.head), digest, what)
                };
                if search.go_on(r, enough)? {
                    return Ok(Some(search));
                }
                *state = Some(search);
                Ok(None)
            },
        )
        .await
    }
}

fn is_linked(get: &impl Get, id: RepoId, digest: &Digest) -> Result<(), RepoError> {
    match get.get(Table::Refs, &keys::link(digest, id))? {
        Some(_) => Ok(()),
        None => Err(RepoError::BlobUnknown(*digest)),
    }
}

/// Refuses to delete a blob that a live manifest needs.
fn refuse(digest: &Digest, needed_by: &[ItemName]) -> Result<(), RepoError> {
    match needed_by.first() {
        Some(parent) => Err(RepoError::Refused(format!(
            "blob {digest} is part of {}; delete that first",
            parent.as_name()
        ))),
        None => Ok(()),
    }
}
