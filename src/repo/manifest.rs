//! Manifests: reading, and the one transaction that makes them visible.

use super::change::{Change, NewManifest};
use super::error::RepoError;
use super::format::Inspected;
use super::keys::{self, Name};
use super::record::BlobRecord;
use super::rows;
use super::{Inner, Manifest, Origin, Put, PutManifest, Repos, is_unborn, reclaim, visible};
use crate::blobs::{Place, Sealed, SealedBody};
use crate::store::record::Record;
use crate::store::{Get, Read, StoreError, Table, Txn};
use crate::types::{Algorithm, Digest, MediaType, Reference, RepoId, RepoName};
use bytes::Bytes;
use std::io::Read as _;
use std::sync::Arc;

/// More manifests than this, or more digests, are committed in several transactions, children first.
pub(super) const CLOSURE_ROWS: usize = 3500;
/// Tags that one transaction of a manifest's deletion removes.
const TAGS_AT_ONCE: usize = 700;

/// A manifest in memory.
#[derive(Clone)]
pub(super) struct Known {
    generation: u64,
    /// Until this running time (ms) a HEAD needs to renew nothing.
    rests_until: u64,
    manifest: Arc<Manifest>,
}

impl Known {
    /// Bytes that a cache entry weighs.
    pub fn weigh(key: &(RepoName, Reference), known: &Self) -> usize {
        key.0.as_str().len() + 65 + known.manifest.bytes.len()
    }
}

/// A manifest that has been read and whose bytes are where a commit needs them.
#[derive(Clone)]
struct Ready {
    new: NewManifest,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Inline(Bytes),
    Placed(Place),
}

impl Repos {
    /// The manifest of a tag or digest: from memory, or in one hop.
    pub async fn manifest(
        &self,
        name: &RepoName,
        reference: &Reference,
    ) -> Result<Arc<Manifest>, RepoError> {
        Ok(self.known_manifest(name, reference).await?.manifest)
    }

    /// The same, for HEAD. A client that finds a manifest by digest will not push it: one that no tag and no manifest
    /// needs gets a new lease, unless it has most of one left.
    pub async fn manifest_head(
        &self,
        name: &RepoName,
        reference: &Reference,
    ) -> Result<Arc<Manifest>, RepoError> {
        let known = self.known_manifest(name, reference).await?;
        if self.0.store.running_ms() < known.rests_until {
            return Ok(known.manifest);
        }
        let (wanted, digest) = (name.clone(), known.manifest.digest);
        let context = self.context("", "lease.renew");
        let write = self.write("lease.renew", move |tx| {
            let unknown = || RepoError::ManifestUnknown(digest.to_string());
            let (id, record) = rows::find(tx, wanted.as_str())?.ok_or_else(unknown)?;
            rows::live(tx, id, &Name::Manifest(&digest))?.ok_or_else(unknown)?;
            let keep_ms = record.keep_ms.unwrap_or(context.keep_ms);
            Ok(rows::hold(tx, id, &digest, context.lease_ms, keep_ms)?)
        });
        write.await?;
        let key = (name.clone(), reference.clone());
        self.0.manifests.remove(&key);
        Ok(known.manifest)
    }

    async fn known_manifest(
        &self,
        name: &RepoName,
        reference: &Reference,
    ) -> Result<Known, RepoError> {
        let generation = self.0.generations.now(name);
        let key = (name.clone(), reference.clone());
        if let Some(known) = self.0.manifests.get(&key)
            && known.generation == generation
        {
            return Ok(known);
        }
        self.hop(move |inner, r| {
            let (manifest, rests_until) = read_manifest(inner, r, &key.0, &key.1)?;
            let known = Known {
                generation,
                rests_until,
                manifest: Arc::new(manifest),
            };
            inner.manifests.insert(key, known.clone());
            Ok(known)
        })
        .await
    }

    /// Takes a manifest: its items, references, referrer row, tags and revision in one transaction. The repository is
    /// made if it is not there.
    pub async fn put_manifest(&self, name: &RepoName, put: PutManifest) -> Result<Put, RepoError> {
        let who = match &put.source {
            super::Source::Push { by } => by.clone(),
            super::Source::Registry { registry, .. } => registry.clone(),
        };
        let ready = vec![self.ready(put).await?];
        let mut done = self
            .commit(name, ready, &who, "manifest.put", false)
            .await?;
        done.pop()
            .ok_or_else(|| RepoError::Task("a commit of one manifest answered none".into()))
    }

    /// Makes a whole closure visible: in one transaction; one that is too large for that in several, in the order
    /// given (children first), so that each manifest that is visible is whole. Works on mirrors.
    pub async fn commit_closure(
        &self,
        name: &RepoName,
        manifests: Vec<PutManifest>,
        who: &str,
    ) -> Result<Vec<Put>, RepoError> {
        let mut done = Vec::with_capacity(manifests.len());
        let (mut batch, mut rows) = (Vec::new(), 0);
        for put in manifests {
            let ready = self.ready(put).await?;
            let cost = ready.new.inspected.children.len() + 20;
            if rows + cost > CLOSURE_ROWS {
                done.extend(
                    self.commit(name, std::mem::take(&mut batch), who, "mirror", true)
                        .await?,
                );
                rows = 0;
            }
            rows += cost;
            batch.push(ready);
        }
        done.extend(self.commit(name, batch, who, "mirror", true).await?);
        Ok(done)
    }

    /// Removes a manifest and every tag that means it.
    pub async fn delete_manifest(
        &self,
        name: &RepoName,
        digest: &Digest,
        who: &str,
    ) -> Result<(), RepoError> {
        loop {
            let context = self.context(who, "manifest.delete");
            let (wanted, digest) = (name.clone(), *digest);
            let write = self.write("manifest.delete", move |tx| {
                let (id, record) = writable(tx, &wanted)?;
                let mut change = Change::open(tx, id, record, &context);
                let more = change.delete_tags_of(&digest, TAGS_AT_ONCE)?;
                if !more && !change.delete_manifest(&digest)? {
                    return Err(RepoError::ManifestUnknown(digest.to_string()));
                }
                change.finish()?;
                Ok(more)
            });
            let more = write.await;
            self.forget(name);
            if !more? {
                return Ok(());
            }
        }
    }

    /// Reads a manifest and makes its bytes durable if they are too many for the store.
    async fn ready(&self, put: PutManifest) -> Result<Ready, RepoError> {
        let inner = Arc::clone(&self.0);
        let max = inner.options.manifest_max;
        if put.bytes.len() as u64 > max {
            return Err(RepoError::TooLarge(max));
        }
        self.block(move || {
            let algorithm = match &put.reference {
                Reference::Digest(digest) => digest.algorithm(),
                Reference::Tag(_) => Algorithm::Sha256,
            };
            let digest = Digest::of(algorithm, &put.bytes);
            if let Reference::Digest(wanted) = &put.reference
                && *wanted != digest
            {
                return Err(RepoError::Digest(format!(
                    "the manifest's bytes are {digest}, not {wanted}"
                )));
            }
            let inspected = inner
                .options
                .format
                .inspect(&put.bytes, put.media_type.as_ref())
                .map_err(|e| RepoError::ManifestInvalid(e.0))?;
            let mut tags = put.tags;
            if let Reference::Tag(tag) = put.reference
                && !tags.contains(&tag)
            {
                tags.insert(0, tag);
            }
            let size = put.bytes.len() as u64;
            let body = place(&inner, &digest, &put.bytes)?;
            let new = NewManifest {
                digest,
                size,
                inspected,
                source: (&put.source).into(),
                tags,
            };
            Ok(Ready { new, body })
        })
        .await
    }

    async fn commit(
        &self,
        name: &RepoName,
        ready: Vec<Ready>,
        who: &str,
        why: &'static str,
        mirror: bool,
    ) -> Result<Vec<Put>, RepoError> {
        let context = self.context(who, why);
        let strict = self.0.options.strict;
        let done: Vec<Put> = ready.iter().map(|r| answer(&r.new)).collect();
        let wanted = name.clone();
        let write = self.write(why, move |tx| {
            let (id, record) = if mirror {
                rows::find(tx, wanted.as_str())?
                    .ok_or_else(|| RepoError::NameUnknown(wanted.clone()))?
            } else {
                writable_or_new(tx, &wanted, context.at_ms)?
            };
            let strict = !mirror && record.strict.unwrap_or(strict);
            let mut spare = Vec::new();
            for r in &ready {
                spare.extend(put_body(
                    tx,
                    &r.new.digest,
                    r.new.size,
                    &r.body,
                    context.at_ms,
                )?);
            }
            let mut change = Change::open(tx, id, record, &context);
            for r in &ready {
                if strict {
                    let missing = change.missing(&r.new.inspected)?;
                    if !missing.is_empty() {
                        return Err(RepoError::ManifestBlobUnknown(missing));
                    }
                }
                change.put_manifest(&r.new)?;
            }
            change.finish()?;
            Ok(spare)
        });
        let spare = write.await;
        self.forget(name);
        self.drop_spare(spare?).await;
        Ok(done)
    }

    /// Removes content files that the commit found it did not need.
    pub(super) async fn drop_spare(&self, spare: Vec<Place>) {
        if spare.is_empty() {
            return;
        }
        let blobs = self.0.blobs.clone();
        let removed = self.block(move || Ok(blobs.remove(&spare)?)).await;
        if let Err(e) = removed {
            tracing::warn!(error = %e, "a spare content file was left behind; a check finds it");
        }
    }
}

fn answer(new: &NewManifest) -> Put {
    Put {
        digest: new.digest,
        subject: new.inspected.subject,
        tags: new.tags.clone(),
    }
}

/// The repository of a change by its owner; a mirror's content may be deleted, too.
pub(super) fn writable(
    tx: &Txn<'_>,
    name: &RepoName,
) -> Result<(RepoId, super::record::RepoRecord), RepoError> {
    visible(tx, name.as_str())?.ok_or_else(|| RepoError::NameUnknown(name.clone()))
}

/// The repository of a push, made if it is not there; a mirror refuses. One whose first mirror run never ended becomes
/// local.
pub(super) fn writable_or_new(
    tx: &mut Txn<'_>,
    name: &RepoName,
    at_ms: u64,
) -> Result<(RepoId, super::record::RepoRecord), RepoError> {
    match rows::find(tx, name.as_str())? {
        Some((id, mut record)) if is_unborn(&record) => {
            record.origin = Origin::Local.code();
            tx.put(Table::Repos, &keys::repo(id), &record.to_bytes()?)?;
            Ok((id, record))
        }
        Some((_, record)) if record.origin != Origin::Local.code() => {
            Err(RepoError::ReadOnly(name.clone()))
        }
        Some(found) => Ok(found),
        None => Ok(rows::create(tx, name, Origin::Local.code(), at_ms)?),
    }
}

/// Few bytes stay with the commit; many become a durable file first.
fn place(inner: &Inner, digest: &Digest, bytes: &Bytes) -> Result<Body, RepoError> {
    let mut ingest = inner
        .blobs
        .begin(super::new_upload_id()?, RepoId(0), digest.algorithm());
    ingest.write(bytes)?;
    match ingest.finish(digest)?.body {
        SealedBody::Inline(bytes) => Ok(Body::Inline(bytes)),
        SealedBody::Placed(place) => Ok(Body::Placed(place)),
    }
}

fn put_body(
    tx: &mut Txn<'_>,
    digest: &Digest,
    size: u64,
    body: &Body,
    at_ms: u64,
) -> Result<Option<Place>, StoreError> {
    let body = match body {
        Body::Inline(bytes) => SealedBody::Inline(bytes.clone()),
        Body::Placed(place) => SealedBody::Placed(place.clone()),
    };
    put_blob(
        tx,
        &Sealed {
            digest: *digest,
            size,
            body,
        },
        at_ms,
    )
}

/// Writes the row of a durable blob, unless a good one is there; answers the content file that is now spare.
pub(super) fn put_blob(
    tx: &mut Txn<'_>,
    sealed: &Sealed,
    at_ms: u64,
) -> Result<Option<Place>, StoreError> {
    let mut spare = None;
    if let Some(row) = tx.get(Table::Blobs, sealed.digest.as_key())? {
        let row = BlobRecord::from_bytes(&row)?;
        if !row.damaged {
            return Ok(match &sealed.body {
                SealedBody::Placed(place) => Some(place.clone()),
                SealedBody::Inline(_) => None,
            });
        }
        spare = row.place.map(Place);
    }
    let place = match &sealed.body {
        // A commit so late that an audit took its file for a stray: the client tries again.
        SealedBody::Placed(place) if tx.get(Table::Condemned, place.0.as_bytes())?.is_some() => {
            return Err(StoreError::Busy);
        }
        SealedBody::Placed(place) => Some(place.0.clone()),
        SealedBody::Inline(bytes) => {
            tx.put(Table::Bytes, sealed.digest.as_key(), bytes)?;
            None
        }
    };
    let row = BlobRecord {
        size: sealed.size,
        first_seen_ms: at_ms,
        place,
        damaged: false,
    };
    tx.put(Table::Blobs, sealed.digest.as_key(), &row.to_bytes()?)?;
    Ok(spare)
}

/// The manifest, and until when (running ms) a HEAD of it needs to renew nothing.
fn read_manifest(
    inner: &Inner,
    r: &Read<'_>,
    name: &RepoName,
    reference: &Reference,
) -> Result<(Manifest, u64), RepoError> {
    let (id, _) = visible(r, name.as_str())?.ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
    let unknown = || RepoError::ManifestUnknown(reference.to_string());
    let item = match reference {
        Reference::Tag(tag) => rows::live(r, id, &Name::Tag(tag.as_str()))?,
        Reference::Digest(digest) => rows::live(r, id, &Name::Manifest(digest))?,
    };
    let (_, item) = item.ok_or_else(unknown)?;
    let digest = item.digest().ok_or_else(unknown)?;
    let media_type: MediaType = item.media_type.parse().map_err(|_| unknown())?;
    let bytes = match read_bytes(inner, r, &digest) {
        // Collected since this read began.
        Err(RepoError::BlobUnknown(_)) => return Err(unknown()),
        read => read?,
    };
    let rests_until = match reference {
        Reference::Tag(_) => u64::MAX,
        Reference::Digest(_) if reclaim::is_needed(r, id, &digest, &item)? => u64::MAX,
        Reference::Digest(_) => {
            let end = r.get(Table::Refs, &keys::held(&digest, id))?;
            end.map_or(0, |end| inner.rests_until(rows::number(&end)))
        }
    };
    let manifest = Manifest {
        digest,
        media_type,
        bytes,
    };
    Ok((manifest, rests_until))
}

/// All bytes of a manifest.
pub(super) fn read_bytes(inner: &Inner, r: &Read<'_>, digest: &Digest) -> Result<Bytes, RepoError> {
    let damaged = || RepoError::Blob(crate::blobs::BlobError::Damaged(digest.to_string()));
    let row = rows::blob(r, digest)?.ok_or_else(damaged)?;
    match row.place {
        None => Ok(r
            .get(Table::Bytes, digest.as_key())?
            .ok_or_else(damaged)?
            .into()),
        Some(place) => {
            let at = Place(place.clone());
            let file = inner.blobs.open_place(&at, row.size);
            let file = file.map_err(|e| inner.why_missing(digest, &at, e))?;
            let mut bytes = Vec::with_capacity(row.size as usize);
            file.take(row.size)
                .read_to_end(&mut bytes)
                .map_err(|e| crate::blobs::BlobError::Io(place, e))?;
            Ok(bytes.into())
        }
    }
}

/// The parts of a manifest that the referrers list shows.
pub(super) fn inspect(inner: &Inner, bytes: &[u8], media_type: &str) -> Option<Inspected> {
    let declared = media_type.parse().ok();
    inner.options.format.inspect(bytes, declared.as_ref()).ok()
}
