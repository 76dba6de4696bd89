//! Manifests: reading, and the one transaction that makes them visible.

use crate::blobs::{Place, Sealed, SealedBody, UploadName};
use crate::repo::edit::{self, Edit};
use crate::repo::error::RepoError;
use crate::repo::images::batch;
use crate::repo::images::edit::NewManifest;
use crate::repo::rows;
use crate::repo::rows::inline;
use crate::repo::rows::record::{BlobRecord, RepoRecord};
use crate::repo::uploads::fill;
use crate::repo::{FetchedFor, Inner, MovedTag, Origin, Put, PutManifest, Repos, pushes, visible};
use crate::store::record::Record;
use crate::store::{Get, Need, StoreError, Table, Txn};
use crate::types::{Algorithm, Digest, Kind, Reference, RepoId, RepoName};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// A manifest that has been read and whose bytes are where a commit needs them.
#[derive(Clone)]
pub(super) struct Ready {
    pub new: NewManifest,
    pub body: Body,
}

impl Ready {
    /// Its content file, if it has one.
    pub fn place(&self) -> Option<Place> {
        match &self.body {
            Body::Inline(_) | Body::Before => None,
            Body::Placed(place) => Some(place.clone()),
        }
    }

    /// The same once for every [`batch::TAGS`] of its tags, the bytes with the first.
    pub fn of_few_tags(mut self) -> Vec<Self> {
        let mut all = Vec::new();
        while self.new.tags.len() > batch::TAGS {
            let rest = self.new.tags.split_off(batch::TAGS);
            let next = Self {
                new: NewManifest {
                    tags: rest,
                    ..self.new.clone()
                },
                body: Body::Before,
            };
            all.push(std::mem::replace(&mut self, next));
        }
        all.push(self);
        all
    }
}

/// What a commit came to.
#[derive(Default)]
pub(super) struct Made {
    /// Content files that it did not need.
    pub spare: Vec<Place>,
    /// Tags that were moved here and stay.
    pub kept: Vec<MovedTag>,
}

/// Where a manifest's bytes are.
#[derive(Clone)]
pub(super) enum Body {
    Inline(Bytes),
    Placed(Place),
    /// They came with the same manifest before, with other tags.
    Before,
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
            crate::repo::Source::Push { by } => by.clone(),
            crate::repo::Source::Registry { registry, .. } => registry.clone(),
        };
        let ready = self.ready(put).await?;
        let done = answer(&ready.new);
        self.commit(name, ready, &who).await?;
        Ok(done)
    }

    /// Reads a manifest and makes its bytes durable if they are too many for the store.
    pub(super) async fn ready(&self, put: PutManifest) -> Result<Ready, RepoError> {
        let inner = Arc::clone(&self.0);
        let max = inner.options.manifest_max;
        if put.bytes.len() as u64 > max {
            return Err(RepoError::TooLarge(max));
        }
        let ready = self.block(move || {
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
        });
        let ready = ready.await?;
        if ready.place().is_some() {
            // Else a row whose file is gone would have these bytes dropped.
            self.is_lost(&ready.new.digest).await?;
        }
        Ok(ready)
    }

    /// Commits one manifest, and drops the content file that was not needed for it.
    async fn commit(&self, name: &RepoName, ready: Ready, who: &str) -> Result<(), RepoError> {
        let place = ready.place();
        let ready = Arc::new(vec![ready]);
        let once = || self.commit_once(name, Arc::clone(&ready), who, "manifest.put", None);
        match self.with_history(name, once).await {
            Ok(made) => {
                self.drop_spare(made.spare).await;
                Ok(())
            }
            Err(error) => {
                if error.stored_nothing() {
                    self.drop_spare(place.into_iter().collect()).await;
                }
                Err(error)
            }
        }
    }

    /// The transaction of a commit. `fetched_for`: a mirror run's repository; a push has none.
    pub(super) async fn commit_once(
        &self,
        name: &RepoName,
        ready: Arc<Vec<Ready>>,
        who: &str,
        why: &'static str,
        fetched_for: Option<FetchedFor>,
    ) -> Result<Made, RepoError> {
        let sizes = ready.iter().map(|r| (r.new.digest, Some(r.new.size)));
        let _room = self.commit_room(name, sizes.collect()).await?;
        let context = self.context(who, why);
        let strict = self.0.options.strict;
        let wanted = name.clone();
        let change = self.unless_staged(Need::Grows, why, move |tx| {
            let (id, record) = home(tx, &wanted, &ready, context.at_ms, fetched_for)?;
            let strict = fetched_for.is_none() && record.strict.unwrap_or(strict);
            let mut made = Made::default();
            for r in &*ready {
                let spare = put_body(tx, &r.new.digest, r.new.size, &r.body, context.at_ms)?;
                made.spare.extend(spare);
            }
            let mut news = Vec::with_capacity(ready.len());
            for r in &*ready {
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
            let mut change = Edit::open(tx, id, record, &context)?;
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
}

pub(super) fn answer(new: &NewManifest) -> Put {
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
    fetched_for: Option<FetchedFor>,
) -> Result<(RepoId, RepoRecord), RepoError> {
    if let Some(fetched) = fetched_for {
        let found = rows::find(tx, name.as_str())?;
        let is_right = |record: &RepoRecord| {
            let only = fetched.only.map(Origin::code);
            only.is_none_or(|only| record.origin == only)
        };
        return found
            .filter(|(id, record)| *id == fetched.home && is_right(record))
            .ok_or_else(|| fill::gone(name));
    }
    let (id, record) = pushes::home_or_new(tx, name, at_ms)?;
    // What is here is judged once no stage changes it.
    edit::not_staged(&record)?;
    for r in ready {
        pushes::take_manifest(tx, name, (id, &record), &r.new)?;
    }
    Ok((id, record))
}

/// The repository of a change by its owner; a mirror's content may be deleted, too.
pub(in crate::repo) fn writable(
    tx: &Txn<'_>,
    name: &RepoName,
) -> Result<(RepoId, RepoRecord), RepoError> {
    visible(tx, name.as_str(), Kind::Oci)?.ok_or_else(|| RepoError::NameUnknown(name.clone()))
}

/// Few bytes stay with the commit; many become a durable file first.
fn place(inner: &Inner, digest: &Digest, bytes: &Bytes) -> Result<Body, RepoError> {
    let id = crate::repo::new_upload_id()?;
    let name = UploadName::session(id, RepoId(0), digest.algorithm());
    let mut ingest = inner.blobs.uploads.begin(name);
    ingest.write(bytes)?;
    match ingest.finish(digest)?.body {
        SealedBody::Inline(bytes) => Ok(Body::Inline(bytes)),
        SealedBody::Placed(place) => Ok(Body::Placed(place)),
    }
}

/// Writes the row of a manifest's bytes; answers a content file that is not needed.
pub(super) fn put_body(
    tx: &mut Txn<'_>,
    digest: &Digest,
    size: u64,
    body: &Body,
    at_ms: u64,
) -> Result<Option<Place>, StoreError> {
    let body = match body {
        Body::Inline(bytes) => SealedBody::Inline(bytes.clone()),
        Body::Placed(place) => SealedBody::Placed(place.clone()),
        // Somebody deleted it meanwhile, and the collector was there.
        Body::Before if rows::blob(tx, digest)?.is_none() => return Err(StoreError::Busy),
        Body::Before => return Ok(None),
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
pub(in crate::repo) fn put_blob(
    tx: &mut Txn<'_>,
    sealed: &Sealed,
    at_ms: u64,
) -> Result<Option<Place>, StoreError> {
    let mut spare = None;
    if let Some(row) = tx.get(Table::Blobs, sealed.digest.as_key())? {
        let row = BlobRecord::from_bytes(&row)?;
        if !row.damaged {
            let place = sealed.body.place();
            // A check may have found this very file before the commit came.
            let is_its_own = place.is_some_and(|place| row.place.as_ref() == Some(&place.0));
            return Ok(place.filter(|_| !is_its_own).cloned());
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
