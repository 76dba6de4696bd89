//! Fills: blobs that a mirror brings. The mirror writes the bytes; the repository keeps what it needs to go on.

use super::closing::Bringer;
use super::error::RepoError;
use super::piece::Piece;
use super::{Repos, rows};
use crate::blobs::Ingest;
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
        let repo = self
            .hop(move |_, r| match rows::find(r, wanted.as_str())? {
                Some((repo, _)) => Ok(repo),
                None => Err(RepoError::NameUnknown(wanted.clone())),
            })
            .await?;
        match self.take_up(name, id).await {
            Ok(Some((found, ingest))) if found == algorithm => return Ok(ingest),
            Ok(_) => {}
            Err(e) => {
                tracing::info!(upload = %id, error = %e, "what an earlier run left cannot be used; fetching from the start");
                let blobs = self.0.blobs.clone();
                self.block(move || Ok(blobs.discard(id, repo, algorithm)?))
                    .await?;
                self.0.uploads.end(id);
            }
        }
        Ok(self.0.blobs.begin(id, repo, algorithm))
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
        // What a run before this process left of it counted until now.
        self.0.uploads.end(id);
        let last = Piece::default();
        let done = self.seal(name, ingest, last, digest, Bringer::Mirror).await;
        if done.as_ref().map_or_else(RepoError::is_refusal, |()| true) {
            self.drop_row(id).await?;
        }
        done
    }
}
