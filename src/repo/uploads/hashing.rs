//! Files of uploads that are hashed again: hop by hop, few at once, each in turn with the others, however long one is. Between
//! two hops those end whose repository was deleted meanwhile.

use crate::blobs::{Ingest, Place, Resumed, Resuming, TwinStep, UploadName};
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::state::lock;
use crate::repo::uploads::sessions::Turn;
use crate::types::{Algorithm, RepoId};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Files that are hashed at once: more would take the threads and processors of those who read.
pub(in crate::repo) const AT_ONCE: usize = 2;
/// Bytes of a file that are hashed in one go.
const HOP: u64 = 16 << 20;

impl Repos {
    /// Hashes what no state covers of a file; nobody does for a client that went away. `UploadUnknown` if its repository is
    /// deleted.
    pub(in crate::repo) async fn hash_again(
        &self,
        name: UploadName,
        mut resuming: Resuming,
        waits: &CancellationToken,
    ) -> Result<Ingest, RepoError> {
        loop {
            self.still_wanted(name.repo).await?;
            let turn = tokio::select! {
                biased;
                () = waits.cancelled() => None,
                turn = self.turn_to_hash() => Some(turn?),
            };
            let Some(turn) = turn else {
                let hashed = self.block(move || Ok(resuming.pause()?)).await?;
                self.0.sessions.note_hashed(name.id, hashed);
                return Err(RepoError::UploadBusy);
            };
            let step = self.block(move || Ok(resuming.step(HOP)?)).await;
            drop(turn);
            match step? {
                Resumed::Whole(ingest) => return Ok(*ingest),
                Resumed::Part(rest) => resuming = *rest,
            }
        }
    }

    /// The place that is another name of an upload's file, if it has one: see [`crate::blobs::Uploads::twin`]. It is looked
    /// for to the end, also if its client goes away: one look settles which name stays.
    pub(in crate::repo) async fn twin_of(
        &self,
        name: UploadName,
    ) -> Result<Option<Place>, RepoError> {
        let blobs = self.0.blobs.clone();
        let mut search = self.block(move || Ok(blobs.uploads.twin(name)?)).await?;
        while let Some(part) = search.take() {
            self.still_wanted(name.repo).await?;
            let turn = self.turn_to_hash().await?;
            let step = self.block(move || Ok(part.step(HOP)?)).await;
            drop(turn);
            match step? {
                TwinStep::Found(place) => return Ok(place),
                TwinStep::Part(rest) => search = Some(*rest),
            }
        }
        Ok(None)
    }

    /// Opens the file of this turn's upload if it rests. Where the file system numbers files anew it is hashed to see that it
    /// is the same; a request that is dropped meanwhile leaves that to the next one, as far as it came.
    pub(in crate::repo) async fn wake(&self, turn: &Turn) -> Result<(), RepoError> {
        let mut most = 0;
        while lock(&turn.session.ingest)
            .as_ref()
            .is_some_and(Ingest::sleeps)
        {
            let _turn = self.turn_if(most).await?;
            let (slot, hold) = (Arc::clone(&turn.session.ingest), turn.hold());
            let wake = move || {
                let _until_done = hold;
                let woken = lock(&slot).as_mut().map(|ingest| ingest.wake(most));
                Ok(woken.transpose()?)
            };
            self.block(wake).await?;
            most = HOP;
        }
        Ok(())
    }

    /// The same of an upload that is to end, and in nobody else's reach. If its digest is of another algorithm than it was
    /// begun with, what is in the file is hashed with that.
    pub(in crate::repo) async fn woken(
        &self,
        mut ingest: Ingest,
        algorithm: Algorithm,
    ) -> Result<Ingest, RepoError> {
        let mut most = 0;
        while ingest.sleeps() {
            let _turn = self.turn_if(most).await?;
            let wake = move || {
                ingest.wake(most)?;
                Ok(ingest)
            };
            ingest = self.block(wake).await?;
            most = HOP;
        }
        while ingest.wants_hashing(algorithm) {
            let _turn = self.turn_to_hash().await?;
            let hash = move || {
                ingest.hash_as(algorithm, HOP)?;
                Ok(ingest)
            };
            ingest = self.block(hash).await?;
        }
        Ok(ingest)
    }

    /// To be held while a file of an upload is hashed.
    async fn turn_to_hash(&self) -> Result<SemaphorePermit<'_>, RepoError> {
        let turn = self.0.hashing.acquire().await;
        turn.map_err(|e| RepoError::Task(e.to_string()))
    }

    /// The same, where so many bytes are hashed; for none nobody waits.
    async fn turn_if(&self, bytes: u64) -> Result<Option<SemaphorePermit<'_>>, RepoError> {
        match bytes {
            0 => Ok(None),
            _ => self.turn_to_hash().await.map(Some),
        }
    }

    /// `UploadUnknown` for an upload into a repository that is deleted.
    async fn still_wanted(&self, repo: RepoId) -> Result<(), RepoError> {
        let deleted = self.deleted(HashSet::from([repo])).await?;
        if deleted.is_empty() {
            Ok(())
        } else {
            Err(RepoError::UploadUnknown)
        }
    }
}
