//! Closings: an upload becomes a blob of its repository, or a file. Once begun, one comes to its end whether or not its
//! client waits.

use crate::blobs::{BlobErrorKind, Ingest, Sealed, UploadName, Verified};
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::files::{Filed, NewFile};
use crate::repo::images::manifest;
use crate::repo::rows::keys;
use crate::repo::state::lock;
use crate::repo::uploads::fill;
use crate::repo::uploads::memory::Memory;
use crate::repo::uploads::piece::Piece;
use crate::repo::uploads::sessions::Turn;
use crate::repo::{Repos, pushes, rows};
use crate::store::{Need, Table};
use crate::types::{Digest, Kind, RepoId, RepoName};
use std::sync::Arc;

/// Who brings bytes, and what becomes of them.
#[derive(Debug, Clone)]
pub(in crate::repo) enum Bringer {
    /// A client, into the repository that the upload was begun for, if that takes pushes.
    Push,
    /// A client, who makes a file of the repository of them.
    File(Arc<NewFile>),
    /// A mirror run, into the repository that the fill was begun for.
    Fill,
}

/// Bytes that a repository has now.
struct Linked {
    /// The file that they became.
    filed: Option<Filed>,
}

/// Bytes whose digest was checked.
enum Ready {
    /// The store has the blob, as it seems.
    Known(Verified),
    /// They are durable at a place of their own.
    New(Sealed),
}

impl Repos {
    /// Makes a blob of an upload's bytes and the `last` that came for it; `acknowledged` were there before the request.
    pub(in crate::repo) async fn end_upload(
        &self,
        mut turn: Turn,
        last: Piece,
        acknowledged: u64,
        (digest, by): (Option<Digest>, Bringer),
    ) -> Result<Option<Filed>, RepoError> {
        let (id, mut session) = (turn.id, turn.session.clone());
        let ingest = lock(&session.ingest).take();
        let ingest = match ingest {
            Some(ingest) if ingest.offset() > 0 || !last.bytes.is_empty() => ingest,
            None if session.offset > 0 => {
                // Its end did not come to an end: what became of it is on disk.
                match session.repo.get().copied() {
                    Some(repo) => self.settle(turn, repo).await,
                    None => turn.end(),
                }
                return Err(RepoError::UploadUnknown);
            }
            _ => {
                let repo = self.repo_of(&session).await?;
                // Its file, if there will be one, has this in its name.
                session.algorithm = digest.map_or(session.algorithm, |d| d.algorithm());
                let name = UploadName::session(id, repo, session.algorithm);
                self.0.blobs.uploads.begin(name).of(session.owner.clone())
            }
        };
        let repo = ingest.repo();
        if !self.0.is_unlimited() {
            self.0.uploads.ending(id);
        }
        let done = self.seal(&session.name, ingest, last, digest, by).await;
        let over = match &done {
            // Bytes that the disk refused are taken up from as far as they came.
            Err(RepoError::Blob(error)) => error.kind() == BlobErrorKind::Digest,
            // A commit of which it is not known whether it stands leaves the upload as it was.
            Err(error) => error.stored_nothing(),
            Ok(_) => true,
        };
        if over {
            let _ = self.drop_row_of(&session, id).await;
        }
        if acknowledged == 0 && done.as_ref().is_err_and(RepoError::is_of_disk) {
            self.drop_refused(&session, id, repo).await;
        }
        if done.is_ok() {
            turn.end();
            self.0.uploads.end(id);
        } else {
            turn.session.algorithm = session.algorithm;
            self.settle(turn, repo).await;
        }
        done
    }

    /// Takes the `last` bytes, checks the digest if one was named, makes all durable unless the store has them, and links the
    /// blob, or files it.
    pub(in crate::repo) async fn seal(
        &self,
        name: &RepoName,
        ingest: Ingest,
        mut last: Piece,
        digest: Option<Digest>,
        by: Bringer,
    ) -> Result<Option<Filed>, RepoError> {
        let by = (by, ingest.repo());
        // Few bytes that come back from their file are in memory until the commit, as those that came last are.
        let _held_to_the_end = if last.bytes.is_empty() {
            self.0.memory.take(Memory::price(ingest.inline_len())).await
        } else {
            std::mem::take(&mut last.share)
        };
        let algorithm = digest.map_or(ingest.algorithm(), |digest| digest.algorithm());
        let ingest = self.woken(ingest, algorithm).await?;
        let sealed = match self.check_last(ingest, last, digest).await? {
            Ready::New(sealed) => sealed,
            Ready::Known(verified) => {
                let (digest, size) = (verified.digest(), verified.size());
                // A row whose file is gone is no reason to drop what has come.
                if !self.is_lost(&digest).await?
                    && let Some(linked) = self.link(name, &by, None, digest, size).await?
                {
                    // Only now that the commit stands are these bytes spare.
                    self.block(move || Ok(verified.discard()?)).await?;
                    return Ok(linked.filed);
                }
                self.block(move || Ok(verified.seal()?)).await?
            }
        };
        let (digest, size) = (sealed.digest, sealed.size);
        let place = sealed.body.place().cloned();
        let upload = sealed.upload;
        let linked = self.link(name, &by, Some(sealed), digest, size).await;
        if linked.as_ref().is_err_and(RepoError::stored_nothing) {
            self.drop_spare(place.into_iter().collect()).await;
        }
        // A client that is refused keeps nothing of a full disk. A mirror run goes on with what it has.
        let over = match (&linked, &by.0) {
            (Ok(_), _) => true,
            (Err(error), Bringer::Push | Bringer::File(_)) => error.stored_nothing(),
            (Err(error), Bringer::Fill) => error.is_refusal(),
        };
        if let Some(upload) = upload.filter(|_| over) {
            self.drop_file(upload).await;
        }
        Ok(linked?.and_then(|linked| linked.filed))
    }

    /// Takes the `last` bytes, checks the digest, and makes all durable unless the store has them.
    async fn check_last(
        &self,
        mut ingest: Ingest,
        last: Piece,
        digest: Option<Digest>,
    ) -> Result<Ready, RepoError> {
        let inner = Arc::clone(&self.0);
        self.block(move || {
            let Piece { bytes, ahead, .. } = last;
            ingest.write_hashed(&bytes, ahead)?;
            inner.memory.give_back(bytes);
            let verified = match &digest {
                Some(digest) => ingest.verify(digest)?,
                None => ingest.verify_unnamed()?,
            };
            let digest = verified.digest();
            let known = inner
                .store
                .read(|r| Ok::<_, RepoError>(rows::blob(r, &digest)?.is_some()))?;
            Ok(if known {
                Ready::Known(verified)
            } else {
                Ready::New(verified.seal()?)
            })
        })
        .await
    }

    /// Links the blob, which ends its fill, or files it; with `sealed` its row is written, too. `None`: the row was expected and
    /// is not there.
    async fn link(
        &self,
        name: &RepoName,
        by: &(Bringer, RepoId),
        sealed: Option<Sealed>,
        digest: Digest,
        size: u64,
    ) -> Result<Option<Linked>, RepoError> {
        // An upload has had its room since its bytes came.
        let _room = match &by.0 {
            Bringer::Push | Bringer::File(_) => None,
            Bringer::Fill => Some(self.commit_room(name, vec![(digest, Some(size))]).await?),
        };
        self.with_history(name, || {
            self.link_once(name, by.clone(), sealed.clone(), digest, size)
        })
        .await
    }

    async fn link_once(
        &self,
        name: &RepoName,
        (by, repo): (Bringer, RepoId),
        sealed: Option<Sealed>,
        digest: Digest,
        size: u64,
    ) -> Result<Option<Linked>, RepoError> {
        if let Bringer::File(new) = by {
            // Most bytes become blobs, whose requests need not have room for this.
            return Box::pin(self.file_once(name, (new, repo), sealed, digest, size)).await;
        }
        let context = self.context("", "blob.put");
        let wanted = name.clone();
        let write = self.write(Need::Grows, "blob.put", move |tx| {
            match by {
                Bringer::Push | Bringer::File(_) => {
                    pushes::same_home(tx, &wanted, Kind::Oci, repo)?;
                }
                Bringer::Fill => {
                    let found = rows::find(tx, wanted.as_str())?;
                    if found.is_none_or(|(id, _)| id != repo) {
                        return Err(fill::gone(&wanted));
                    }
                }
            }
            let spare = match &sealed {
                Some(sealed) => manifest::put_blob(tx, sealed, context.at_ms)?,
                None if rows::blob(tx, &digest)?.is_none() => return Ok(None),
                None => None,
            };
            rows::link(tx, repo, &digest, size, context.lease_ms)?;
            if matches!(by, Bringer::Fill) {
                tx.delete(Table::Fills, &keys::fill(repo, &digest))?;
            }
            Ok(Some(spare))
        });
        let Some(spare) = write.await? else {
            return Ok(None);
        };
        self.drop_spare(spare.into_iter().collect()).await;
        Ok(Some(Linked { filed: None }))
    }

    /// The same for bytes that become a file.
    async fn file_once(
        &self,
        name: &RepoName,
        (new, repo): (Arc<NewFile>, RepoId),
        sealed: Option<Sealed>,
        digest: Digest,
        size: u64,
    ) -> Result<Option<Linked>, RepoError> {
        let context = self.context(&new.who, "file.put");
        let wanted = name.clone();
        let change = self.unless_staged(Need::Grows, "file.put", move |tx| {
            pushes::same_home(tx, &wanted, Kind::File, repo)?;
            let Some((id, record)) = rows::find(tx, wanted.as_str())? else {
                return Err(RepoError::UploadUnknown);
            };
            let spare = match &sealed {
                Some(sealed) => manifest::put_blob(tx, sealed, context.at_ms)?,
                None if rows::blob(tx, &digest)?.is_none() => return Ok(None),
                None => None,
            };
            let mut edit = Edit::open(tx, id, record, &context)?;
            let filed = edit.put_file(&new, &digest, size)?;
            edit.finish()?;
            Ok(Some((spare, filed)))
        });
        let Some((spare, filed)) = change.await? else {
            return Ok(None);
        };
        self.drop_spare(spare.into_iter().collect()).await;
        Ok(Some(Linked { filed: Some(filed) }))
    }

    /// The upload is over, whether its file goes now or with the idle ones.
    async fn drop_file(&self, upload: UploadName) {
        let blobs = self.0.blobs.clone();
        let gone = self.block(move || Ok(blobs.uploads.discard(upload)?));
        if let Err(error) = gone.await {
            tracing::debug!(upload = %upload.id, %error, "the file of a finished upload stays until it is reaped");
        }
    }
}
