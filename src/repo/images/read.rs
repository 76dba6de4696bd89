//! Reading manifests: from memory where it can be, else in one hop. Large ones are never whole in memory for a client.

use crate::blobs::{BlobError, BlobErrorKind, Place};
use crate::repo::error::RepoError;
use crate::repo::format::{FormatError, Inspected};
use crate::repo::images::blob::renewed;
use crate::repo::images::past;
use crate::repo::rows::inline;
use crate::repo::rows::keys::{self, Name};
use crate::repo::shown::{At, shown};
use crate::repo::state::lock;
use crate::repo::{Blob, BlobBody, Inner, Manifest, Repos, reclaim, rows, visible};
use crate::store::epochs::Epoch;
use crate::store::{Get, Need, Read, StoreErrorKind, Table};
use crate::types::{Digest, Kind, MediaType, Reference, RepoName};
use bytes::Bytes;
use std::io::Read as _;
use std::sync::Arc;

/// Larger manifests are sent from their files: each client that takes one slowly would hold all of it else.
const LARGE: u64 = 64 << 10;

/// A repository, as of when, and what is asked for.
pub(in crate::repo) type ManifestKey = (RepoName, At, Reference);

/// A manifest in memory.
#[derive(Clone)]
pub(in crate::repo) struct KnownManifest {
    epoch: Epoch,
    /// Until this running time (ms) a HEAD needs to renew nothing.
    rests_until: u64,
    manifest: Arc<Manifest>,
}

impl KnownManifest {
    /// Bytes that a cache entry weighs.
    pub fn weigh(key: &ManifestKey, known: &Self) -> usize {
        key.0.as_str().len() + 65 + known.manifest.blob.size as usize
    }
}

impl Repos {
    /// The manifest of a tag or digest, as of then: from memory, or in one hop.
    pub async fn manifest(
        &self,
        name: &RepoName,
        at: &At,
        reference: &Reference,
    ) -> Result<Arc<Manifest>, RepoError> {
        Ok(self.known_manifest(name, at, reference).await?.manifest)
    }

    /// The same, for HEAD. A client that finds a manifest by digest will not push it: one that no tag and no manifest
    /// needs gets a new lease, unless it has most of one left. The past has none to give.
    pub async fn manifest_head(
        &self,
        name: &RepoName,
        at: &At,
        reference: &Reference,
    ) -> Result<Arc<Manifest>, RepoError> {
        let known = self.known_manifest(name, at, reference).await?;
        if self.0.store.running_ms() < known.rests_until {
            return Ok(known.manifest);
        }
        let (wanted, digest) = (name.clone(), known.manifest.blob.digest);
        let context = self.context("", "lease.renew");
        let write = self.write(Need::Removes, "lease.renew", move |tx| {
            let unknown = || RepoError::ManifestUnknown(digest.to_string());
            let (id, record) = visible(tx, wanted.as_str(), Kind::Oci)?.ok_or_else(unknown)?;
            rows::live(tx, id, &Name::manifest(&digest))?.ok_or_else(unknown)?;
            let keep_ms = record.keep_ms.unwrap_or(context.keep_ms);
            Ok(rows::hold(tx, id, &digest, context.lease_ms, keep_ms)?)
        });
        renewed(write.await)?;
        let key = (name.clone(), At::Head, reference.clone());
        self.0.manifests.remove(&key);
        Ok(known.manifest)
    }

    async fn known_manifest(
        &self,
        name: &RepoName,
        at: &At,
        reference: &Reference,
    ) -> Result<KnownManifest, RepoError> {
        let epoch = self.0.epoch(name);
        let key = (name.clone(), at.clone(), reference.clone());
        if let Some(known) = self.0.manifests.get(&key)
            && known.epoch == epoch
        {
            return Ok(known);
        }
        let known = self.hop(move |inner, r| {
            let (manifest, rests_until) = read_manifest(inner, r, &key)?;
            let known = KnownManifest {
                epoch,
                rests_until,
                manifest: Arc::new(manifest),
            };
            if matches!(known.manifest.blob.body, BlobBody::Inline(_)) {
                inner.manifests.insert(key.clone(), known.clone());
            }
            Ok(known)
        });
        match known.await {
            Err(RepoError::Blob(BlobError::Damaged(place)))
                if self.is_lost(&Place(place.clone()).digest()?).await? =>
            {
                Err(RepoError::ManifestUnknown(reference.to_string()))
            }
            known => known,
        }
    }
}

/// The manifest, and until when (running ms) a HEAD of it needs to renew nothing.
fn read_manifest(
    inner: &Inner,
    r: &Read<'_>,
    (name, at, reference): &ManifestKey,
) -> Result<(Manifest, u64), RepoError> {
    let shown = shown(r, name, Kind::Oci, at)?;
    let id = shown.id;
    let unknown = || RepoError::ManifestUnknown(reference.to_string());
    let item = match reference {
        Reference::Tag(tag) => shown.item(r, &Name::tag(tag.as_str()))?,
        Reference::Digest(digest) => shown.item(r, &Name::manifest(digest))?,
    };
    let (_, item) = item.ok_or_else(unknown)?;
    let digest = item.digest().ok_or_else(unknown)?;
    let media_type: MediaType = item.media_type.parse().map_err(|_| unknown())?;
    let blob = match open_manifest(inner, r, &digest) {
        // Collected since this read began.
        Err(RepoError::BlobUnknown(_)) => return Err(unknown()),
        read => read?,
    };
    if *at != At::Head {
        if let Some((added, _)) = shown.item(r, &Name::manifest(&digest))? {
            past::remember(inner, &shown, (digest, added));
        }
        return Ok((Manifest { blob, media_type }, u64::MAX));
    }
    let rests_until = match reference {
        Reference::Tag(_) => u64::MAX,
        Reference::Digest(_) if reclaim::is_needed(r, id, &digest, &item)? => u64::MAX,
        Reference::Digest(_) => {
            let end = r.get(Table::Mentions, &keys::held(&digest, id))?;
            end.map_or(0, |end| inner.rests_until(rows::number(&end)))
        }
    };
    Ok((Manifest { blob, media_type }, rests_until))
}

/// A blob or manifest of any repository, opened.
pub(in crate::repo) fn open(
    inner: &Inner,
    r: &Read<'_>,
    digest: &Digest,
) -> Result<Blob, RepoError> {
    // Damaged and known to be: as if it were not here, so that it is pushed again.
    let row = rows::blob(r, digest)?.ok_or(RepoError::BlobUnknown(*digest))?;
    let body = if let Some(place) = row.place {
        let place = Place(place);
        BlobBody::File(Arc::new(inner.open_place(digest, &place, row.size)?))
    } else {
        BlobBody::Inline(inline(r, digest, row.size)?)
    };
    Ok(Blob {
        digest: *digest,
        size: row.size,
        body,
    })
}

/// The same for a manifest; in memory unless it is large.
pub(in crate::repo) fn open_manifest(
    inner: &Inner,
    r: &Read<'_>,
    digest: &Digest,
) -> Result<Blob, RepoError> {
    let mut blob = open(inner, r, digest)?;
    if blob.size <= LARGE {
        blob.body = BlobBody::Inline(whole(&blob)?);
    }
    Ok(blob)
}

/// All bytes of a manifest.
pub(in crate::repo) fn read_bytes(
    inner: &Inner,
    r: &Read<'_>,
    digest: &Digest,
) -> Result<Bytes, RepoError> {
    whole(&open(inner, r, digest)?)
}

/// The same, to see what a manifest names; `None` if it is not here, or damaged. Where they could not be read for now
/// (an error of the disk, too many open files) that is an error, of which nobody may conclude that it names nothing.
pub(in crate::repo) fn bytes_if_whole(
    inner: &Inner,
    r: &Read<'_>,
    digest: &Digest,
) -> Result<Option<Bytes>, RepoError> {
    let error = match read_bytes(inner, r, digest) {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(error) => error,
    };
    let is_lost = match &error {
        // Unless only its place has changed since this view was taken.
        RepoError::BlobUnknown(_) => rows::blob(r, digest)?.is_none(),
        RepoError::Blob(error) => error.kind() == BlobErrorKind::Damaged,
        RepoError::Store(error) => error.kind() == StoreErrorKind::Damaged,
        _ => false,
    };
    if is_lost { Ok(None) } else { Err(error) }
}

fn whole(blob: &Blob) -> Result<Bytes, RepoError> {
    let file = match &blob.body {
        BlobBody::Inline(bytes) => return Ok(bytes.clone()),
        BlobBody::File(file) => file,
    };
    let mut bytes = Vec::with_capacity(blob.size as usize);
    (&**file)
        .take(blob.size)
        .read_to_end(&mut bytes)
        .map_err(|e| BlobError::Io(blob.digest.to_string(), e))?;
    Ok(bytes.into())
}

/// The bytes in the store of a blob that has so many of them.
pub(in crate::repo) fn inline(
    r: &Read<'_>,
    digest: &Digest,
    size: u64,
) -> Result<Bytes, RepoError> {
    let bytes = inline::get(r, digest)?.filter(|bytes| bytes.len() as u64 == size);
    let damaged = || BlobError::Damaged(digest.to_string());
    Ok(bytes.ok_or_else(damaged)?.into())
}

/// The parts of a manifest that the referrers list shows.
pub(in crate::repo) fn inspect(inner: &Inner, bytes: &[u8], media_type: &str) -> Option<Inspected> {
    let declared = media_type.parse().ok();
    inner.inspect(bytes, declared.as_ref()).ok()
}

impl Inner {
    /// What a manifest's bytes mean; one at a time, as a hostile one unfolds to many times its length in memory.
    pub(in crate::repo) fn inspect(
        &self,
        bytes: &[u8],
        declared: Option<&MediaType>,
    ) -> Result<Inspected, FormatError> {
        let _turn = lock(&self.inspecting);
        self.options.format.inspect(bytes, declared)
    }
}
