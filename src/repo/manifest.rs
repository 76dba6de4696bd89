//! Manifests: reading, and the one transaction that makes them visible.

use super::change::{Change, NewManifest};
use super::error::RepoError;
use super::record::{BlobRecord, RepoRecord};
use super::rows;
use super::{Inner, KeptTag, Put, PutManifest, Repos, fill, inline, parts, pushes, visible};
use crate::blobs::{Place, Sealed, SealedBody, UploadName};
use crate::store::record::Record;
use crate::store::{Get, Need, StoreError, Table, Txn};
use crate::types::{Algorithm, Digest, Reference, RepoId, RepoName};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// More manifests than this, or more digests, are committed in several transactions, children first.
pub(super) const CLOSURE_ROWS: usize = 3500;

/// A manifest that has been read and whose bytes are where a commit needs them.
#[derive(Clone)]
struct Ready {
    new: NewManifest,
    body: Body,
}

impl Ready {
    /// Its content file, if it has one.
    fn place(&self) -> Option<Place> {
        match &self.body {
            Body::Inline(_) => None,
            Body::Placed(place) => Some(place.clone()),
        }
    }
}

/// What a commit came to.
#[derive(Default)]
struct Made {
    /// Content files that it did not need.
    spare: Vec<Place>,
    kept: Vec<KeptTag>,
}

#[derive(Clone)]
enum Body {
    Inline(Bytes),
    Placed(Place),
}

impl Repos {
    /// Takes a manifest: its items, references, referrer row, tags and revision in one transaction. The repository is
    /// made if it is not there. It comes to its end also if the client goes away, so that no content file is left without
    /// a row; `held` is the caller's, and is dropped at that end.
    pub async fn put_manifest(
        &self,
        name: &RepoName,
        put: PutManifest,
        held: impl Send + 'static,
    ) -> Result<Put, RepoError> {
        let (repos, name) = (self.clone(), name.clone());
        self.to_its_end(async move {
            let _held_to_the_end = held;
            repos.put_one(&name, put).await
        })
        .await
    }

    async fn put_one(&self, name: &RepoName, put: PutManifest) -> Result<Put, RepoError> {
        let who = match &put.source {
            super::Source::Push { by } => by.clone(),
            super::Source::Registry { registry, .. } => registry.clone(),
        };
        let ready = vec![self.ready(put).await?];
        let mut done = self.commit(name, ready, &who, "manifest.put", None).await?;
        done.pop()
            .ok_or_else(|| RepoError::Task("a commit of one manifest answered none".into()))
    }

    /// Makes a whole closure visible: in one transaction; one that is too large for that in several, in the order
    /// given (children first), so that each manifest that is visible is whole. `home` is what the name meant when the
    /// content was fetched ([`Repos::ensure_mirror`]): one that was deleted since, and perhaps made anew, gets nothing.
    pub async fn commit_closure(
        &self,
        name: &RepoName,
        home: RepoId,
        manifests: Vec<PutManifest>,
        who: &'static str,
    ) -> Result<Vec<Put>, RepoError> {
        let (repos, name) = (self.clone(), name.clone());
        self.to_its_end(async move { repos.commit_in_batches(&name, home, manifests, who).await })
            .await
    }

    async fn commit_in_batches(
        &self,
        name: &RepoName,
        home: RepoId,
        manifests: Vec<PutManifest>,
        who: &str,
    ) -> Result<Vec<Put>, RepoError> {
        let mut done = Vec::with_capacity(manifests.len());
        let (mut batch, mut rows) = (Vec::new(), 0);
        for put in manifests {
            let ready = self.ready(put).await?;
            let cost = ready.new.inspected.children.len() + parts::rows(&ready.new.inspected) + 20;
            if rows + cost > CLOSURE_ROWS {
                done.extend(
                    self.commit(name, std::mem::take(&mut batch), who, "mirror", Some(home))
                        .await?,
                );
                rows = 0;
            }
            rows += cost;
            batch.push(ready);
        }
        done.extend(self.commit(name, batch, who, "mirror", Some(home)).await?);
        Ok(done)
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
            let inspected = inner.inspect(&put.bytes, put.media_type.as_ref());
            let inspected = inspected.map_err(|e| RepoError::ManifestInvalid(e.to_string()))?;
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
        fetched_for: Option<RepoId>,
    ) -> Result<Vec<Put>, RepoError> {
        let mut done: Vec<Put> = ready.iter().map(|r| answer(&r.new)).collect();
        let placed = ready.iter().filter_map(Ready::place).collect();
        let ready = Arc::new(ready);
        let made = self
            .with_history(name, || {
                self.commit_once(name, Arc::clone(&ready), who, why, fetched_for)
            })
            .await;
        if made.as_ref().is_err_and(RepoError::stored_nothing) {
            self.drop_spare(placed).await;
        }
        let Made { spare, kept } = made?;
        self.drop_spare(spare).await;
        for kept in kept {
            let of = done.iter_mut().filter(|put| put.digest == kept.brought);
            for put in of {
                put.tags.retain(|tag| *tag != kept.tag);
                put.kept.push(kept.clone());
            }
        }
        Ok(done)
    }

    /// The transaction of a commit. `fetched_for`: a mirror run's repository; a push has none.
    async fn commit_once(
        &self,
        name: &RepoName,
        ready: Arc<Vec<Ready>>,
        who: &str,
        why: &'static str,
        fetched_for: Option<RepoId>,
    ) -> Result<Made, RepoError> {
        let sizes = ready.iter().map(|r| (r.new.digest, Some(r.new.size)));
        let _room = self.commit_room(name, sizes.collect()).await?;
        let context = self.context(who, why);
        let strict = self.0.options.strict;
        let wanted = name.clone();
        let change = self.change(name, Need::Grows, why, move |tx| {
            let (id, record) = home(tx, &wanted, &ready, context.at_ms, fetched_for)?;
            let strict = fetched_for.is_none() && record.strict.unwrap_or(strict);
            let mut made = Made::default();
            for r in ready.iter() {
                let spare = put_body(tx, &r.new.digest, r.new.size, &r.body, context.at_ms)?;
                made.spare.extend(spare);
            }
            let mut news = Vec::with_capacity(ready.len());
            for r in ready.iter() {
                let ours = match fetched_for {
                    Some(_) => pushes::without_ours(tx, id, &r.new)?,
                    None => None,
                };
                news.push(match ours {
                    Some((rest, kept)) => {
                        made.kept.extend(kept);
                        Cow::Owned(rest)
                    }
                    None => Cow::Borrowed(&r.new),
                });
            }
            let mut change = Change::open(tx, id, record, &context);
            for new in &news {
                if strict {
                    let missing = change.missing(&new.inspected)?;
                    if !missing.is_empty() {
                        return Err(RepoError::ManifestBlobUnknown(missing));
                    }
                }
                change.put_manifest(new)?;
            }
            change.finish()?;
            Ok(made)
        });
        change.await
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
        kept: Vec::new(),
    }
}

/// The repository of a commit: of a mirror run the one that it fetched for, of a push the name's, if that takes these
/// manifests.
fn home(
    tx: &mut Txn<'_>,
    name: &RepoName,
    ready: &[Ready],
    at_ms: u64,
    fetched_for: Option<RepoId>,
) -> Result<(RepoId, RepoRecord), RepoError> {
    if let Some(home) = fetched_for {
        let found = rows::find(tx, name.as_str())?;
        return found
            .filter(|(id, _)| *id == home)
            .ok_or_else(|| fill::gone(name));
    }
    let (id, record) = pushes::home_or_new(tx, name, at_ms)?;
    for r in ready {
        pushes::take_manifest(tx, name, (id, &record), &r.new)?;
    }
    Ok((id, record))
}

/// The repository of a change by its owner; a mirror's content may be deleted, too.
pub(super) fn writable(tx: &Txn<'_>, name: &RepoName) -> Result<(RepoId, RepoRecord), RepoError> {
    visible(tx, name.as_str())?.ok_or_else(|| RepoError::NameUnknown(name.clone()))
}

/// Few bytes stay with the commit; many become a durable file first.
fn place(inner: &Inner, digest: &Digest, bytes: &Bytes) -> Result<Body, RepoError> {
    let id = super::new_upload_id()?;
    let name = UploadName::session(id, RepoId(0), digest.algorithm());
    let mut ingest = inner.blobs.begin(name);
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
            upload: None,
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
            return Ok(sealed.body.place().cloned());
        }
        if row.place.is_none() && matches!(sealed.body, SealedBody::Placed(_)) {
            inline::delete(tx, &sealed.digest)?;
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
            inline::put(tx, &sealed.digest, bytes)?;
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
