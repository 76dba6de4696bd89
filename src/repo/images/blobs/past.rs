//! Blobs as a revision of the past shows them: a manifest of it needs one, whatever is linked now.
//!
//! What a pull asks for is remembered with the manifest that needs it, so nearly every blob is found in a seek; the others are
//! searched for from hop to hop, a few reads at once ([`crate::repo::bounded`]).

use super::blob::{BlobKey, of_past, opened};
use crate::cache::Cache;
use crate::repo::bounded::{Next, Pages};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::shown::{At, Shown, shown};
use crate::repo::{Blob, Inner, Repos};
use crate::store::{Get, Read, Table};
use crate::types::{Digest, Kind, RepoId, RepoName, Rev};
use std::sync::Arc;

impl Repos {
    /// The blob as of then, if that is known or found in a few looks; [`Repos::search_blob`] finds the others.
    pub async fn blob_of_past(
        &self,
        name: &RepoName,
        at: &At,
        digest: &Digest,
    ) -> Result<Option<Blob>, RepoError> {
        let epoch = self.0.epoch(name);
        let key = (name.clone(), at.clone(), *digest);
        if let Some(blob) = self.0.blob_now(&key, epoch) {
            return Ok(Some(blob));
        }
        let found = self.hop(move |inner, r| {
            let shown = shown(r, &key.0, Kind::Oci, &key.1)?;
            if !is_of_recent(inner, r, &shown, &key.2)? {
                return Ok(None);
            }
            let known = of_past(r, &key.2, epoch)?;
            opened(inner, r, &key, known).map(Some)
        });
        let found = found.await.transpose();
        match found {
            Some(opened) => self.unless_lost(digest, opened).await.map(Some),
            None => Ok(None),
        }
    }

    pub(in crate::repo::images) async fn past_blob(
        &self,
        name: &RepoName,
        at: &At,
        digest: &Digest,
    ) -> Result<Blob, RepoError> {
        match self.blob_of_past(name, at, digest).await? {
            Some(blob) => Ok(blob),
            None => self.search_blob(name, at, digest).await,
        }
    }

    /// The blob, if a manifest of that revision needs it.
    pub async fn search_blob(
        &self,
        name: &RepoName,
        at: &At,
        digest: &Digest,
    ) -> Result<Blob, RepoError> {
        let epoch = self.0.epoch(name);
        let key: BlobKey = (name.clone(), at.clone(), *digest);
        let step = move |inner: &Inner, r: &Read<'_>, parents: &mut Option<Pages>| {
            let shown = shown(r, &key.0, Kind::Oci, &key.1)?;
            let digest = key.2;
            let range = keys::refs_in(&digest, shown.id, Class::Manifest).range();
            let parents = parents.get_or_insert_with(|| Pages::new(Table::Refs, range));
            match needed(r, &shown, parents)? {
                Needed::By(parent, added) => {
                    remember(inner, &shown, (parent, added));
                    let known = of_past(r, &digest, epoch)?;
                    opened(inner, r, &key, known).map(Some)
                }
                Needed::NotYet => Ok(None),
                Needed::Not => Err(RepoError::BlobUnknown(digest)),
            }
        };
        let found = self.long_read(|inner| &inner.past, None, None, step).await;
        self.unless_lost(digest, found).await
    }
}

/// Whether a revision shows a blob.
enum Needed {
    /// A manifest needs it, added by this revision.
    By(Digest, Rev),
    /// There is more to look at.
    NotYet,
    /// Nothing does.
    Not,
}

/// Looks on, one hop long, for a manifest that was there at the revision and needs the digest.
fn needed(r: &Read<'_>, shown: &Shown, parents: &mut Pages) -> Result<Needed, RepoError> {
    loop {
        let page = match parents.next(r, 2)? {
            Next::Rows(page) => page,
            Next::Spent => return Ok(Needed::NotYet),
            Next::End => return Ok(Needed::Not),
        };
        for (key, _) in &page {
            let parent = keys::ref_head(key).and_then(|(_, _, rest)| keys::parent_of(rest));
            if let Some((parent, added)) = parent
                && added <= shown.rev
                && is_there(r, shown, &parent, added)?
            {
                return Ok(Needed::By(parent, added));
            }
        }
    }
}

/// Whether the manifest that this revision added was there.
fn is_there(r: &Read<'_>, shown: &Shown, manifest: &Digest, added: Rev) -> Result<bool, RepoError> {
    let found = shown.item(r, &Name::manifest(manifest))?;
    Ok(found.is_some_and(|(found, _)| found == added))
}

/// Manifests that were lately read as of a revision, or found to need a blob then, the latest first: who pulls an image
/// of the past asks for a manifest and then for its blobs.
pub(in crate::repo) type Recent = Cache<(RepoId, Rev), Arc<[(Digest, Rev)]>>;

/// Bytes of memory for them.
const RECENT_BYTES: u64 = 2 << 20;
/// Manifests remembered of one revision.
const RECENT: usize = 16;

/// Nothing yet.
pub(in crate::repo) fn recent() -> Recent {
    Cache::new(RECENT_BYTES, None, |_, manifests| {
        16 + manifests.len() * size_of::<(Digest, Rev)>()
    })
}

/// Notes a manifest and the revision that added it.
pub(in crate::repo::images) fn remember(inner: &Inner, shown: &Shown, manifest: (Digest, Rev)) {
    let key = (shown.id, shown.rev);
    let before = inner.recent.get(&key).unwrap_or_default();
    if before.first() == Some(&manifest) {
        return;
    }
    let others = before.iter().filter(|m| **m != manifest);
    let all = std::iter::once(&manifest).chain(others).take(RECENT);
    inner.recent.insert(key, all.copied().collect());
}

/// Whether one of those manifests needs the digest; what memory says of them is looked up.
fn is_of_recent(
    inner: &Inner,
    r: &Read<'_>,
    shown: &Shown,
    digest: &Digest,
) -> Result<bool, RepoError> {
    let recent = inner.recent.get(&(shown.id, shown.rev));
    for (parent, added) in recent.unwrap_or_default().iter() {
        let key = keys::manifest_ref(digest, shown.id, Class::Manifest, parent, *added);
        if r.get(Table::Refs, &key)?.is_some() && is_there(r, shown, parent, *added)? {
            return Ok(true);
        }
    }
    Ok(false)
}
