//! Fetches one digest again that is damaged here, from a registry that had it. Nothing becomes visible that was not.

use super::oci::Registry;
use super::{MirrorError, SourceImage};
use crate::blobs::{BlobError, Ingest};
use crate::fetch::{FetchClient, FetchError, FetchOptions, FetchSpan};
use crate::repo::check::CameFrom;
use crate::repo::{RepoError, Repos};
use crate::types::{Digest, Reference};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// Fetches the bytes, checks them against the digest and gives them to the blob. `false`: it was whole by then.
pub async fn refetch(
    repos: &Repos,
    upstream: &CameFrom,
    fetch: FetchOptions,
    cancel: &CancellationToken,
) -> Result<bool, MirrorError> {
    let text = format!(
        "docker://{}/{}@{}",
        upstream.registry, upstream.name, upstream.digest
    );
    let source: SourceImage = text.parse()?;
    let client = FetchClient::new(source.api_host(), fetch)?;
    let registry = Registry::new(client, source);
    tokio::select! {
        () = cancel.cancelled() => Err(MirrorError::Cancelled),
        done = bring(repos, &registry, upstream) => done,
    }
}

async fn bring(
    repos: &Repos,
    registry: &Registry,
    upstream: &CameFrom,
) -> Result<bool, MirrorError> {
    let digest = upstream.digest;
    let gone = || {
        MirrorError::NotFound(format!(
            "{} does not have {digest} in {} any more",
            upstream.registry, upstream.name
        ))
    };
    let mut ingest = repos.begin_heal(digest.algorithm())?;
    if upstream.is_manifest {
        let found = registry.manifest(&Reference::Digest(digest)).await?;
        let bytes = found.ok_or_else(gone)?.bytes;
        ingest = written(ingest, bytes).await?;
    } else {
        let size = registry.blob_size(&digest).await?.ok_or_else(gone)?;
        let mut got = digest;
        for decode in [true, false] {
            let span = FetchSpan {
                from: 0,
                size,
                ranges: decode,
                decode,
            };
            let whole = read(registry, &digest, span, ingest).await?;
            match repos.heal(whole, &digest).await {
                // It may have changed on the way, or been decoded wrongly: once more, as it comes.
                Err(RepoError::Blob(BlobError::Digest { got: it, .. })) => got = it,
                healed => return Ok(healed?),
            }
            ingest = repos.begin_heal(digest.algorithm())?;
        }
        let wrong = registry.wrong("blob", digest, got);
        return Err(MirrorError::Wrong(wrong));
    }
    Ok(repos.heal(ingest, &digest).await?)
}

/// A blob's bytes, right or wrong.
async fn read(
    registry: &Registry,
    digest: &Digest,
    span: FetchSpan,
    mut ingest: Ingest,
) -> Result<Ingest, MirrorError> {
    let mut download = registry.blob(digest, span).await?;
    loop {
        match download.chunk().await {
            Ok(Some(piece)) => ingest = written(ingest, piece).await?,
            Ok(None) => return Ok(ingest),
            // The digest decides.
            Err(FetchError::TooLarge { .. } | FetchError::Coding { .. }) if download.is_made() => {
                return Ok(ingest);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The ingest after these bytes; what it failed to take is dropped.
async fn written(mut ingest: Ingest, piece: Bytes) -> Result<Ingest, MirrorError> {
    let wrote = tokio::task::spawn_blocking(move || ingest.write(&piece).map(|()| ingest)).await;
    let wrote = wrote.map_err(|e| MirrorError::Internal(e.to_string()))?;
    Ok(wrote.map_err(RepoError::from)?)
}
