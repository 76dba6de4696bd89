//! Fills: blobs that a mirror brings. The mirror writes the bytes; the repository keeps what it needs to go on.
//!
//! A fill is no upload of a client: its id is random and stands in its row alone, which is found by the repository and
//! the digest; its file has a name that no session has. So nobody but the mirror run that holds it can write to it.

use crate::blobs::{Growing, Ingest, Purpose, Saved, UploadFile, UploadName};
use crate::repo::error::RepoError;
use crate::repo::failures::Failures;
use crate::repo::rows::keys;
use crate::repo::rows::record::FillRecord;
use crate::repo::uploads::closing::Bringer;
use crate::repo::uploads::fills::FillTurn;
use crate::repo::uploads::piece::Piece;
use crate::repo::{Repos, new_upload_id, rows};
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, Table};
use crate::types::{Digest, Hasher, RepoId, RepoName, UploadId, wall_ms};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Rows of fills that are looked at in one read.
const PAGE: usize = 500;

/// A blob on its way from another registry, and the only writer of its file. Dropping it keeps what was flushed.
pub struct Fill {
    ingest: Ingest,
    digest: Digest,
    turn: FillTurn,
}

impl Fill {
    /// Bytes that are here.
    pub fn offset(&self) -> u64 {
        self.ingest.offset()
    }

    /// Readers of the blob while it comes, of `len` bytes if that is known; see [`Ingest::grow`]. A fill that is paused or dropped
    /// fails them as cut off; who goes on with it has new ones, from the first byte on. Blocks.
    pub fn grow(&mut self, len: Option<u64>) -> Result<Growing, RepoError> {
        Ok(self.ingest.grow(len)?)
    }

    /// Hands all bytes that came to the file, so that readers of a [`Growing`] see them. Blocks.
    pub fn flush(&mut self) -> Result<(), RepoError> {
        Ok(self.ingest.flush()?)
    }

    /// Appends bytes. Blocks; after an error it takes nothing more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), RepoError> {
        Ok(self.ingest.write(bytes)?)
    }
}

impl Repos {
    /// The fill of a blob that the caller fetches, from where an earlier one was paused or killed; [`Fill::offset`] says
    /// how much is here. `UploadBusy` while another fills the same blob of the same repository.
    pub async fn fill(&self, name: &RepoName, digest: &Digest) -> Result<Fill, RepoError> {
        let (wanted, digest) = (name.clone(), *digest);
        let repo = self
            .hop(move |_, r| match rows::find(r, wanted.as_str())? {
                Some((repo, _)) => Ok(repo),
                None => Err(RepoError::NameUnknown(wanted.clone())),
            })
            .await?;
        let turn = self.0.fills.take(repo, digest)?;
        let (repos, name) = (self.clone(), name.clone());
        // Of a run that is dropped nothing may go on beside the next one: the turn is held to the end of this.
        self.to_its_end(async move {
            let ingest = match repos.paused(&turn, repo, &digest).await? {
                Some(ingest) => ingest,
                None => repos.begin_fill(&name, &turn, repo, &digest).await?,
            };
            Ok(Fill {
                ingest,
                digest,
                turn,
            })
        })
        .await
    }

    /// What an earlier fill left, if it can be used; else it is gone.
    async fn paused(
        &self,
        turn: &FillTurn,
        repo: RepoId,
        digest: &Digest,
    ) -> Result<Option<Ingest>, RepoError> {
        let key = keys::fill(repo, digest);
        let row = self.hop(move |_, r| Ok(r.get(Table::Fills, &key)?)).await?;
        let Some(row) = row.and_then(|row| FillRecord::from_bytes(&row).ok()) else {
            return Ok(None);
        };
        let name = UploadName::fill(UploadId(row.id), repo, digest.algorithm());
        turn.writing(name.id);
        let saved = Saved {
            offset: row.offset,
            hash_state: row.hash_state,
            boot_id: row.boot_id,
        };
        // A run that is dropped is rare, and what it began is of use to the next one.
        let waits = CancellationToken::new();
        match self.take_up_file(name, Some(saved), &waits).await {
            Ok(found) => return Ok(found),
            // It is not ours to remove.
            Err(RepoError::UploadBusy) => return Err(RepoError::UploadBusy),
            Err(error) => {
                tracing::info!(fill = %digest, %error, "what an earlier run left cannot be used; fetching from the start");
            }
        }
        self.discard_fill(name).await?;
        Ok(None)
    }

    /// A fill from the first byte on. Its row comes before its file, so that a kill leaves no file that nothing names.
    async fn begin_fill(
        &self,
        name: &RepoName,
        turn: &FillTurn,
        repo: RepoId,
        digest: &Digest,
    ) -> Result<Ingest, RepoError> {
        let id = new_upload_id()?;
        turn.writing(id);
        let nothing = Saved {
            offset: 0,
            hash_state: Hasher::new(digest.algorithm()).save(),
            boot_id: self.0.blobs.boot_id().to_owned(),
        };
        if !self.save_fill(name, repo, digest, id, nothing).await? {
            return Err(gone(name));
        }
        let file = UploadName::fill(id, repo, digest.algorithm());
        Ok(self.0.blobs.uploads.begin(file))
    }

    /// Saves what has arrived, for a later [`Repos::fill`] of the same blob.
    pub async fn pause_fill(&self, name: &RepoName, fill: Fill) -> Result<(), RepoError> {
        let (repos, name) = (self.clone(), name.clone());
        self.to_its_end(async move {
            let Fill {
                mut ingest,
                digest,
                turn: _held_to_the_end,
            } = fill;
            let (repo, id) = (ingest.repo(), ingest.name().id);
            if ingest.offset() == 0 {
                return repos.drop_fill(repo, &digest, id).await;
            }
            let saved = repos.block(move || {
                let saved = ingest.checkpoint();
                drop(ingest);
                Ok(saved?)
            });
            let saved = saved.await?;
            // What is paused counts for quotas, as it will after a restart.
            repos.0.uploads.raise(id, name.as_str(), saved.offset);
            repos.save_fill(&name, repo, &digest, id, saved).await?;
            Ok(())
        })
        .await
    }

    /// Checks the digest and links the blob: durable when this returns. Wrong bytes are dropped.
    pub async fn finish_fill(&self, name: &RepoName, fill: Fill) -> Result<(), RepoError> {
        let (repos, name) = (self.clone(), name.clone());
        self.to_its_end(async move {
            let Fill {
                ingest,
                digest,
                turn: _held_to_the_end,
            } = fill;
            let (repo, id) = (ingest.repo(), ingest.name().id);
            // What was paused of it counted until now.
            repos.0.uploads.end(id);
            let last = Piece::default();
            let done = repos.seal(&name, ingest, last, Some(digest), Bringer::Fill);
            let done = done.await;
            if done.as_ref().is_err_and(RepoError::is_refusal) {
                repos.drop_fill(repo, &digest, id).await?;
            }
            done.map(drop)
        })
        .await
    }

    /// `false`: the repository that the fill was begun for is gone, and nothing was saved.
    async fn save_fill(
        &self,
        name: &RepoName,
        repo: RepoId,
        digest: &Digest,
        id: UploadId,
        saved: Saved,
    ) -> Result<bool, RepoError> {
        let (wanted, key) = (name.clone(), keys::fill(repo, digest));
        let row = FillRecord {
            id: id.0,
            offset: saved.offset,
            hash_state: saved.hash_state,
            boot_id: saved.boot_id,
            saved_ms: wall_ms(),
        };
        let write = self.write(Need::Grows, "fill.save", move |tx| {
            let is_there = rows::find(tx, wanted.as_str())?.is_some_and(|(id, _)| id == repo);
            if is_there {
                tx.put(Table::Fills, &key, &row.to_bytes()?)?;
            }
            Ok(is_there)
        });
        write.await
    }

    /// Drops a fill's row, unless it is another one's by now.
    async fn drop_fill(
        &self,
        repo: RepoId,
        digest: &Digest,
        id: UploadId,
    ) -> Result<(), RepoError> {
        let key = keys::fill(repo, digest);
        let write = self
            .0
            .store
            .write(Lane::Background, Need::Keeps, "fill.end", move |tx| {
                let row = tx.get(Table::Fills, &key)?;
                let row = row.and_then(|row| FillRecord::from_bytes(&row).ok());
                if row.is_some_and(|row| row.id == id.0) {
                    tx.delete(Table::Fills, &key)?;
                }
                Ok(())
            });
        write.await
    }

    /// Gives up fills that got no byte for `idle`, and those of which a crash or a deletion left the row or the file
    /// alone; answers how many.
    pub(in crate::repo) async fn reap_fills(&self, idle: Duration) -> Result<usize, RepoError> {
        let mut listing = self.listing(Purpose::Fill).await?;
        let mut files: HashMap<UploadId, UploadFile> = HashMap::new();
        while let Some(some) = self.listed(&mut listing).await? {
            files.extend(some.into_iter().map(|file| (file.name.id, file)));
        }
        let mut failures = Failures::default();
        // A file's row is written before it is made, so what has a row now is not among the files without one.
        let mut named = HashSet::new();
        let (mut reaped, mut from) = (0, Vec::new());
        loop {
            let start = std::mem::take(&mut from);
            let page = self.hop(move |_, r| Ok(r.scan(Table::Fills, &start, &[], PAGE)?));
            let page = page.await?;
            for (key, value) in &page {
                let (Some((repo, digest)), Ok(row)) =
                    (keys::fill_parts(key), FillRecord::from_bytes(value))
                else {
                    continue;
                };
                let id = UploadId(row.id);
                named.insert(id);
                let file = files.remove(&id);
                if file.as_ref().is_some_and(|file| file.idle <= idle) {
                    continue;
                }
                let done = failures.note(self.reap_fill(repo, digest, id).await)?;
                reaped += usize::from(done == Some(true));
            }
            match page.last().filter(|_| page.len() == PAGE) {
                Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
                None => break,
            }
        }
        for file in files.into_values() {
            if named.contains(&file.name.id) || self.0.fills.writes(file.name.id) {
                continue;
            }
            let done = failures.note(self.discard_fill(file.name).await)?;
            reaped += usize::from(done.is_some());
        }
        failures.tell("some half-fetched blobs that nobody goes on with cannot be removed yet");
        Ok(reaped)
    }

    /// Removes a fill's file and row, unless it is under way.
    async fn reap_fill(
        &self,
        repo: RepoId,
        digest: Digest,
        id: UploadId,
    ) -> Result<bool, RepoError> {
        let Ok(_turn) = self.0.fills.take(repo, digest) else {
            return Ok(false);
        };
        self.discard_fill(UploadName::fill(id, repo, digest.algorithm()))
            .await?;
        self.drop_fill(repo, &digest, id).await?;
        Ok(true)
    }

    /// Removes a fill's file, which counts no more.
    async fn discard_fill(&self, name: UploadName) -> Result<(), RepoError> {
        let blobs = self.0.blobs.clone();
        self.block(move || Ok(blobs.uploads.discard(name)?)).await?;
        self.0.uploads.end(name.id);
        Ok(())
    }
}

/// The repository of a fill is not what its name means any more.
pub(in crate::repo) fn gone(name: &RepoName) -> RepoError {
    RepoError::Refused(format!(
        "repository {name} was deleted while content for it arrived; copy the image again"
    ))
}
