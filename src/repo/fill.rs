//! Fills: blobs that a mirror brings. The mirror writes the bytes; the repository keeps what it needs to go on.

use super::error::RepoError;
use super::record::UploadRecord;
use super::{Repos, keys, rows, upload};
use crate::blobs::Ingest;
use crate::store::record::Record;
use crate::store::{Get, Table};
use crate::types::{Algorithm, Digest, RepoName, UploadId};

impl Repos {
    /// An ingest for a blob that the caller fetches. The same id takes up what an earlier fill left: `offset()` says
    /// how much. All its methods block.
    pub async fn fill(
        &self,
        name: &RepoName,
        id: UploadId,
        algorithm: Algorithm,
    ) -> Result<Ingest, RepoError> {
        let wanted = name.clone();
        self.hop(move |inner, r| {
            let (repo, _) = rows::find(r, wanted.as_str())?.ok_or_else(|| RepoError::NameUnknown(wanted.clone()))?;
            let row = r.get(Table::Uploads, &keys::upload(id))?;
            let row = row.map(|row| UploadRecord::from_bytes(&row)).transpose()?;
            match upload::take_up(inner, id, repo, row) {
                Ok(Some((found, ingest))) if found == algorithm => Ok(ingest),
                Ok(_) => Ok(inner.blobs.begin(id, repo, algorithm)),
                Err(e) => {
                    tracing::info!(upload = %id, error = %e, "what an earlier run left cannot be used; fetching from the start");
                    inner.blobs.discard(id, repo, algorithm)?;
                    Ok(inner.blobs.begin(id, repo, algorithm))
                }
            }
        })
        .await
    }

    /// Saves what has arrived, for a later [`Repos::fill`] with the same id.
    pub async fn pause_fill(&self, name: &RepoName, mut ingest: Ingest) -> Result<(), RepoError> {
        let (id, algorithm) = (ingest.id(), ingest.algorithm());
        if ingest.offset() == 0 {
            return Ok(());
        }
        let saved = self.block(move || Ok(ingest.checkpoint()?)).await?;
        self.save(name, id, algorithm, saved).await
    }

    /// Checks the digest and links the blob: durable when this returns. Wrong bytes are dropped.
    pub async fn finish_fill(
        &self,
        name: &RepoName,
        ingest: Ingest,
        digest: &Digest,
    ) -> Result<(), RepoError> {
        let id = ingest.id();
        let done = self.seal(name, ingest, digest).await;
        self.drop_row(id).await?;
        done
    }
}
