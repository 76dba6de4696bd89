//! Blobs as a repository shows them: a link lets it, nothing else does.

use crate::blobs::{BlobError, Place};
use crate::repo::bounded::left;
use crate::repo::error::RepoError;
use crate::repo::images::read;
use crate::repo::rows;
use crate::repo::rows::keys::{self, Class};
use crate::repo::rows::record::BlobRecord;
use crate::repo::shown::At;
use crate::repo::{Blob, BlobBody, Inner, Repos, is_unborn, visible};
use crate::store::epochs::Epoch;
use crate::store::record::Record;
use crate::store::{Get, Need, Read, Table};
use crate::types::{Digest, Kind, RepoId, RepoName};
use bytes::Bytes;
use std::fs::File;
use std::sync::Arc;

/// A repository, as of when, and a blob.
pub(in crate::repo) type BlobKey = (RepoName, At, Digest);

/// What is known of a blob in a repository; of small blobs that is everything.
#[derive(Clone)]
pub(in crate::repo) struct KnownBlob {
    epoch: Epoch,
    size: u64,
    /// Until this running time (ms) a HEAD needs to renew nothing.
    rests_until: u64,
    body: KnownBody,
}

#[derive(Clone)]
enum KnownBody {
    Inline(Bytes),
    /// In the store; nobody asked for more than their number.
    Unread,
    Placed(Place),
}

impl KnownBlob {
    fn of(blob: BlobRecord, epoch: Epoch, rests_until: u64) -> Self {
        let place = blob.place.map(|place| KnownBody::Placed(Place(place)));
        Self {
            epoch,
            size: blob.size,
            rests_until,
            body: place.unwrap_or(KnownBody::Unread),
        }
    }

    /// Bytes that a cache entry weighs.
    pub fn weigh(key: &BlobKey, known: &Self) -> usize {
        let body = match &known.body {
            KnownBody::Inline(bytes) => bytes.len(),
            KnownBody::Unread => 0,
            KnownBody::Placed(place) => place.0.len(),
        };
        key.0.as_str().len() + 65 + body
    }
}

impl Repos {
    /// The blob's length, for HEAD. Renews a lease that is half gone and that nothing else backs, because the client
    /// will rely on the answer and not upload.
    /// The past has no leases.
    pub async fn blob_size(
        &self,
        name: &RepoName,
        at: &At,
        digest: &Digest,
    ) -> Result<u64, RepoError> {
        if *at != At::Head {
            return Ok(self.blob(name, at, digest).await?.size);
        }
        let known = self.known(name, digest).await?;
        if self.0.store.running_ms() >= known.rests_until {
            self.renew(name, digest).await?;
        }
        Ok(known.size)
    }

    /// Whether a mirror run finds the blob in the repository, which readers need not see yet; renews its lease as HEAD
    /// does. It remembers nothing in memory, because what is remembered is served.
    pub async fn has_blob(&self, name: &RepoName, digest: &Digest) -> Result<bool, RepoError> {
        let (wanted, blob, epoch) = (name.clone(), *digest, self.0.epoch(name));
        let found = self.hop(move |inner, r| {
            let Some((id, _)) = rows::find(r, wanted.as_str())? else {
                return Ok(None);
            };
            match linked(inner, r, id, &blob, epoch) {
                Ok(known) => Ok(Some(known.rests_until)),
                Err(RepoError::BlobUnknown(_)) => Ok(None),
                Err(e) => Err(e),
            }
        });
        let Some(rests_until) = found.await? else {
            return Ok(false);
        };
        if self.is_lost(digest).await? {
            return Ok(false);
        }
        if self.0.store.running_ms() >= rests_until {
            self.renew(name, digest).await?;
        }
        Ok(true)
    }

    /// The blob as of then, opened: at once if it is known, and small or its file known to the kernel; else in one hop, and
    /// of the past where it has to be searched for in several.
    pub async fn blob(&self, name: &RepoName, at: &At, digest: &Digest) -> Result<Blob, RepoError> {
        if *at != At::Head {
            // Rare, and too large to lie in every pull's future.
            return Box::pin(self.past_blob(name, at, digest)).await;
        }
        let digest = *digest;
        let epoch = self.0.epoch(name);
        let key = (name.clone(), At::Head, digest);
        if let Some(blob) = self.0.blob_now(&key, epoch) {
            return Ok(blob);
        }
        let opened = self.hop(move |inner, r| {
            let known = look_up(inner, r, &key.0, &digest, epoch)?;
            opened(inner, r, &key, known)
        });
        let opened = opened.await;
        self.unless_lost(&digest, opened).await
    }

    async fn known(&self, name: &RepoName, digest: &Digest) -> Result<KnownBlob, RepoError> {
        let epoch = self.0.epoch(name);
        let key = (name.clone(), At::Head, *digest);
        if let Some(known) = self.0.small.get(&key).filter(|k| k.epoch == epoch) {
            return Ok(known);
        }
        // What is not remembered is looked at: who hears that the blob is here does not bring it.
        let known = self.hop(move |inner, r| {
            let known = look_up(inner, r, &key.0, &key.2, epoch)?;
            if let KnownBody::Placed(place) = &known.body
                && inner.blobs.content.is_lost(place, known.size)
            {
                let lost = BlobError::Damaged(place.0.clone());
                return Err(inner.why_missing(&key.2, place, lost));
            }
            inner.small.insert(key.clone(), known.clone());
            Ok(known)
        });
        let known = known.await;
        self.unless_lost(digest, known).await
    }

    async fn renew(&self, name: &RepoName, digest: &Digest) -> Result<(), RepoError> {
        let lease_ms = self.0.options.lease.as_millis() as u64;
        let (wanted, digest) = (name.clone(), *digest);
        let write = self.write(Need::Removes, "lease.renew", move |tx| {
            let unknown = || RepoError::BlobUnknown(digest);
            let (id, _) = rows::find(tx, wanted.as_str())?.ok_or_else(unknown)?;
            tx.get(Table::Refs, &keys::link(&digest, id))?
                .ok_or_else(unknown)?;
            let blob = rows::blob(tx, &digest)?.ok_or_else(unknown)?;
            rows::link(tx, id, &digest, blob.size, lease_ms)
        });
        renewed(write.await)?;
        self.0.small.remove(&(name.clone(), At::Head, digest));
        Ok(())
    }

    /// Shows a blob of `from`, which the caller has found readable, in `name` as well; `false` if `from` does not show it.
    pub async fn mount(
        &self,
        name: &RepoName,
        digest: &Digest,
        from: &RepoName,
    ) -> Result<bool, RepoError> {
        // What `from` does not show is no business of a quota's answer either.
        if !self.0.is_unlimited() {
            match self.known(from, digest).await {
                Ok(_) => {}
                Err(RepoError::NameUnknown(_) | RepoError::BlobUnknown(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        // Who may have the bytes is to send them.
        if self.is_lost(digest).await? {
            return Ok(false);
        }
        let _room = self.commit_room(name, vec![(*digest, None)]).await?;
        self.with_history(name, || self.mount_once(name, digest, from))
            .await
    }

    async fn mount_once(
        &self,
        name: &RepoName,
        digest: &Digest,
        from: &RepoName,
    ) -> Result<bool, RepoError> {
        let context = self.context("", "blob.mount");
        let (wanted, digest, from) = (name.clone(), *digest, from.clone());
        let write = self.write(Need::Grows, "blob.mount", move |tx| {
            let Some((source, _)) = visible(tx, from.as_str(), Kind::Oci)? else {
                return Ok(false);
            };
            let linked = tx.get(Table::Refs, &keys::link(&digest, source))?.is_some();
            let Some(blob) = rows::blob(tx, &digest)?.filter(|_| linked) else {
                return Ok(false);
            };
            let (id, _) = crate::repo::pushes::home_or_new(tx, &wanted, context.at_ms)?;
            rows::link(tx, id, &digest, blob.size, context.lease_ms)?;
            Ok(true)
        });
        write.await
    }

    /// Repositories that show the blob, at most `limit`, for a mount that names none.
    pub async fn holders(&self, digest: &Digest, limit: usize) -> Result<Vec<RepoName>, RepoError> {
        let digest = *digest;
        self.hop(move |_, r| {
            let (mut from, to) = keys::refs(&digest).range();
            let mut names = Vec::new();
            // One seek a repository: the link, if there is one, is its first row. A mount that finds nothing is an upload.
            while names.len() < limit && left(r) > 0 {
                let Some((key, _)) = r.scan(Table::Refs, &from, &to, 1)?.pop() else {
                    break;
                };
                let Some((id, class, _)) = keys::ref_head(&key) else {
                    break;
                };
                if class == Class::Link as u8
                    && let Some(row) = r.get(Table::Repos, &keys::repo(id))?
                {
                    let record = crate::repo::rows::record::RepoRecord::from_bytes(&row)?;
                    if let Ok(name) = record.name.parse::<RepoName>()
                        && !record.deleted
                        && !is_unborn(&record)
                    {
                        names.push(name);
                    }
                }
                from = keys::refs(&digest).u64(id.0 + 1).done();
            }
            Ok(names)
        })
        .await
    }
}

/// Opens what is known of a blob, and remembers it.
pub(in crate::repo::images) fn opened(
    inner: &Inner,
    r: &Read<'_>,
    key: &BlobKey,
    mut known: KnownBlob,
) -> Result<Blob, RepoError> {
    let (digest, size) = (key.2, known.size);
    let body = if let KnownBody::Placed(place) = &known.body {
        BlobBody::File(Arc::new(inner.open_place(&digest, place, size)?))
    } else {
        let bytes = read::inline(r, &digest, size)?;
        known.body = KnownBody::Inline(bytes.clone());
        BlobBody::Inline(bytes)
    };
    inner.small.insert(key.clone(), known);
    Ok(Blob { digest, size, body })
}

impl Inner {
    /// The blob, if it is known and that needs neither the store nor the disk.
    pub(in crate::repo::images) fn blob_now(&self, key: &BlobKey, epoch: Epoch) -> Option<Blob> {
        let known = self.small.get(key);
        let known = known.filter(|known| known.epoch == epoch)?;
        let body = self.body_now(&key.2, &known)?;
        let (digest, size) = (key.2, known.size);
        Some(Blob { digest, size, body })
    }

    /// What is known, ready to be served, if that needs neither the store nor the disk.
    fn body_now(&self, digest: &Digest, known: &KnownBlob) -> Option<BlobBody> {
        match &known.body {
            KnownBody::Inline(bytes) => Some(BlobBody::Inline(bytes.clone())),
            KnownBody::Unread => None,
            KnownBody::Placed(place) => {
                let file = self
                    .blobs
                    .content
                    .open_place_now(place, digest, known.size)?;
                Some(BlobBody::File(Arc::new(file)))
            }
        }
    }

    /// Until when (running ms) a HEAD needs not renew a lease that ends at `end`: until a quarter of it is gone, so that
    /// a client can rely on the other three.
    pub(in crate::repo) fn rests_until(&self, end: u64) -> u64 {
        end.saturating_sub(self.options.lease.as_millis() as u64 / 4 * 3)
    }

    /// A blob's content file.
    pub(in crate::repo) fn open_place(
        &self,
        digest: &Digest,
        place: &Place,
        size: u64,
    ) -> Result<File, RepoError> {
        let opened = self.blobs.content.open_place(place, digest, size);
        opened.map_err(|e| self.why_missing(digest, place, e))
    }

    /// The truth about a content file that could not be opened: its rows may have gone since they were read.
    fn why_missing(&self, digest: &Digest, place: &Place, error: BlobError) -> RepoError {
        let now = self.store.read(|r| rows::blob(r, digest));
        match now {
            Ok(row) if row.as_ref().and_then(|row| row.place.as_ref()) != Some(&place.0) => {
                RepoError::BlobUnknown(*digest)
            }
            _ => error.into(),
        }
    }
}

/// What came of a new lease. On a disk that has not even room for that the old one goes on, for who asks may be pulling; who
/// would push finds the disk full.
pub(in crate::repo) fn renewed(done: Result<(), RepoError>) -> Result<(), RepoError> {
    match done {
        Err(RepoError::Store(error)) if error.is_full() => {
            tracing::debug!(%error, "a lease is not renewed");
            Ok(())
        }
        done => done,
    }
}

fn look_up(
    inner: &Inner,
    r: &Read<'_>,
    name: &RepoName,
    digest: &Digest,
    epoch: Epoch,
) -> Result<KnownBlob, RepoError> {
    let (id, _) = visible(r, name.as_str(), Kind::Oci)?
        .ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
    linked(inner, r, id, digest, epoch)
}

/// What is known of a blob that a revision of the past shows, which needs no lease.
pub(in crate::repo::images) fn of_past(
    r: &Read<'_>,
    digest: &Digest,
    epoch: Epoch,
) -> Result<KnownBlob, RepoError> {
    let blob = rows::blob(r, digest)?.ok_or(RepoError::BlobUnknown(*digest))?;
    Ok(KnownBlob::of(blob, epoch, u64::MAX))
}

/// What is known of a blob that the repository links.
fn linked(
    inner: &Inner,
    r: &Read<'_>,
    id: RepoId,
    digest: &Digest,
    epoch: Epoch,
) -> Result<KnownBlob, RepoError> {
    let unknown = || RepoError::BlobUnknown(*digest);
    let lease = r
        .get(Table::Refs, &keys::link(digest, id))?
        .ok_or_else(unknown)?;
    let blob = rows::blob(r, digest)?.ok_or_else(unknown)?;
    // What only the history needs may lose its link.
    let backed = rows::has_live_parent(r, id, digest)?;
    let rests_until = if backed == Some(true) {
        u64::MAX
    } else {
        inner.rests_until(rows::number(&lease))
    };
    Ok(KnownBlob::of(blob, epoch, rests_until))
}
