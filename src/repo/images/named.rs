//! Blobs that a manifest of a repository names and that the repository does not show yet: what a cache may fetch for it.
//!
//! Owns whether a blob may be fetched, and how long it has to be. Must not know where it comes from.

use crate::repo::error::RepoError;
use crate::repo::images::read;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::{Inner, Repos, rows, visible};
use crate::store::{Get, Need, Read, StoreError};
use crate::types::{Digest, Kind, RepoId, RepoName};

/// Manifests that are read to find a descriptor: any of them has it.
const PARENTS: usize = 4;
/// Rows of manifests that name a blob, at the head or not, that are looked at.
const LOOKED: usize = 64;

impl Repos {
    /// The length of a blob that a manifest of the repository names, by its descriptor there; none if none names it, or it is
    /// here.
    pub async fn named_blob(
        &self,
        name: &RepoName,
        digest: &Digest,
    ) -> Result<Option<u64>, RepoError> {
        let (name, digest) = (name.clone(), *digest);
        self.hop(move |inner, r| {
            let Some((id, _)) = visible(r, name.as_str(), Kind::Oci)? else {
                return Ok(None);
            };
            size_by_parent(inner, r, id, &digest)
        })
        .await
    }

    /// Shows a blob in the repository whose bytes are here for others, if one of its manifests names it; `false` if none does,
    /// or the bytes are not here. The caller has found that its source has it too.
    pub async fn link_named(&self, name: &RepoName, digest: &Digest) -> Result<bool, RepoError> {
        if self.is_lost(digest).await? {
            return Ok(false);
        }
        let _room = self.commit_room(name, vec![(*digest, None)]).await?;
        let lease_ms = self.0.options.lease.as_millis() as u64;
        self.with_history(name, || async {
            let (wanted, digest) = (name.clone(), *digest);
            let write = self.write(Need::Grows, "cache.link", move |tx| {
                let Some((id, _)) = visible(tx, wanted.as_str(), Kind::Oci)? else {
                    return Ok(false);
                };
                let is_named = !parents(tx, id, &digest, 1)?.is_empty();
                let Some(blob) = rows::blob(tx, &digest)?.filter(|_| is_named) else {
                    return Ok(false);
                };
                rows::link(tx, id, &digest, blob.size, lease_ms)?;
                Ok(true)
            });
            write.await
        })
        .await
    }
}

fn size_by_parent(
    inner: &Inner,
    r: &Read<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<Option<u64>, RepoError> {
    for (parent, media_type) in parents(r, id, digest, PARENTS)? {
        let Some(bytes) = read::bytes_if_whole(inner, r, &parent)? else {
            continue;
        };
        let read = read::inspect(inner, &bytes, &media_type);
        let child = read.and_then(|read| read.children.into_iter().find(|c| c.digest == *digest));
        if let Some(child) = child {
            return Ok(Some(child.size));
        }
    }
    Ok(None)
}

/// Manifests at the head that name a blob, at most so many, with their types: of a blob that was here and is lost as well.
fn parents(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
    most: usize,
) -> Result<Vec<(Digest, String)>, StoreError> {
    let mut found = Vec::new();
    for class in [Class::Wanted, Class::Manifest] {
        let (from, to) = keys::refs_in(digest, id, class).range();
        for (key, _) in get.scan(keys::table(class), &from, &to, LOOKED)? {
            let parent = keys::ref_head(&key).and_then(|(_, _, rest)| keys::parent_of(rest));
            let Some((parent, _)) = parent else {
                continue;
            };
            if found.len() < most
                && let Some((_, item)) = rows::live(get, id, &Name::manifest(&parent))?
            {
                found.push((parent, item.media_type));
            }
        }
    }
    Ok(found)
}
