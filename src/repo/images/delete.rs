//! Deletes that depend on what else is live: of a blob that manifests may need, of a manifest with all its tags. What
//! names the digest is searched for outside the writer ([`Search`]). A search that ends within one hop waits for nobody.

use crate::repo::bounded::{Asker, Rest, Search, What};
use crate::repo::edit::{self, Edit};
use crate::repo::error::RepoError;
use crate::repo::images::manifest;
use crate::repo::rows::keys;
use crate::repo::{Repos, rows, visible};
use crate::store::{Get, Need, Table};
use crate::types::{Digest, ItemName, Kind, RepoId, RepoName, Rev};

/// Tags that one transaction of a manifest's deletion removes.
const TAGS_AT_ONCE: usize = 400;
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
            let change = self.change(name, Need::Removes, "blob.delete", move |tx| {
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

    /// Removes a manifest and every tag that means it.
    pub async fn delete_manifest(
        &self,
        name: &RepoName,
        digest: &Digest,
        who: &str,
        asker: Option<&Asker>,
    ) -> Result<(), RepoError> {
        let digest = *digest;
        let (mut search, mut rounds) = (None, 0);
        while rounds < ROUNDS {
            let mut done = self
                .search((name, asker), digest, What::Tags, (search, TAGS_AT_ONCE))
                .await?;
            let tags = done.take();
            // Tags that were found are progress, however many there are.
            rounds += usize::from(tags.is_empty());
            let (wanted, told) = (name.clone(), done.clone());
            let context = self.context(who, "manifest.delete");
            let change = self.change(name, Need::Removes, "manifest.delete", move |tx| {
                let (id, record) = manifest::writable(tx, &wanted)?;
                if id != told.id() {
                    return Ok(Made::Begin);
                }
                let rest = if told.ended() && tags.len() < TAGS_AT_ONCE {
                    told.rest(tx)?
                } else {
                    Rest::TooMuch
                };
                let mut change = Edit::open(tx, id, record, &context)?;
                for tag in &tags {
                    change.delete_tag_of(tag, &digest)?;
                }
                let Rest::Found(more) = rest else {
                    change.finish()?;
                    return Ok(Made::Some);
                };
                if tags.len() + more.len() > TAGS_AT_ONCE {
                    change.finish()?;
                    return Ok(Made::Some);
                }
                for tag in &more {
                    change.delete_tag_of(tag, &digest)?;
                }
                if !change.delete_manifest(&digest)? {
                    return Err(RepoError::ManifestUnknown(digest.to_string()));
                }
                change.finish()?;
                Ok(Made::Done)
            });
            search = match change.await? {
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

    /// Begins a search, or goes on with one, until it has come to its end or has found `enough`.
    async fn search(
        &self,
        (name, asker): (&RepoName, Option<&Asker>),
        digest: Digest,
        what: What,
        (before, enough): (Option<Search>, usize),
    ) -> Result<Search, RepoError> {
        let name = name.clone();
        self.long_read(
            |inner| &inner.searches,
            asker,
            before,
            move |_, r, state| {
                let mut search = if let Some(search) = state.take() {
                    search
                } else {
                    let (id, record) = visible(r, name.as_str(), Kind::Oci)?
                        .ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
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
