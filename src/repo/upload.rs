//! Uploads: bytes on their way into a repository. How they go on after a restart is `resume`'s.
//!
//! An upload lives in memory from its first request. Its file is made with its first byte; every ten seconds of
//! receiving, and at stop, its bytes are synced and then its row saved. What a row does not cover is hashed from the file
//! if the machine was not rebooted meanwhile, else cut off.

use super::error::RepoError;
use super::record::UploadRecord;
use super::sessions::{Session, Slot, Turn};
use super::state::lock;
use super::{Repos, keys, manifest, new_upload_id, rows};
use crate::blobs::{Ingest, Saved, Sealed, SealedBody, UploadName, Verified};
use crate::store::record::Record;
use crate::store::{Get, Table};
use crate::types::{Algorithm, ContentRange, Digest, RepoId, RepoName, UploadId, wall_ms};
use bytes::Bytes;
use futures_util::Stream;
use std::sync::Arc;
use std::time::Duration;

/// Until an upload that is still in use is looked at again.
const AGAIN: Duration = Duration::from_millis(50);

/// Bytes whose digest was checked.
enum Ready {
    /// The store has the blob, as it seems.
    Known(Verified),
    /// They are durable at a place of their own.
    New(Sealed),
}

/// Gives an upload up when dropped, unless it is a blob by then.
struct Over {
    repos: Repos,
    name: RepoName,
    id: UploadId,
}

impl Drop for Over {
    fn drop(&mut self) {
        if self.repos.0.sessions.get(self.id).is_none() {
            return;
        }
        let (repos, name, id) = (self.repos.clone(), self.name.clone(), self.id);
        tokio::spawn(async move {
            // What is still being written of it has its end soon.
            while let Err(RepoError::UploadBusy) = repos.cancel_upload(&name, id).await {
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
}

impl Repos {
    /// A new upload of `owner`, a word of the caller's: nobody has more than `uploads_max` unfinished ones. Nothing
    /// durable is written before its first byte.
    pub async fn begin_upload(
        &self,
        name: &RepoName,
        algorithm: Algorithm,
        owner: &str,
    ) -> Result<UploadId, RepoError> {
        self.check_writable(name).await?;
        let id = new_upload_id()?;
        let (sessions, most) = (&self.0.sessions, self.0.options.uploads_max);
        sessions.begin(id, name.clone(), algorithm, &owner.into(), most)?;
        Ok(id)
    }

    /// Bytes that have arrived.
    pub async fn upload_offset(&self, name: &RepoName, id: UploadId) -> Result<u64, RepoError> {
        self.find_session(name, id).await?;
        let session = self.0.sessions.get(id).filter(|s| s.name == *name);
        Ok(session.ok_or(RepoError::UploadUnknown)?.offset)
    }

    /// Streams a chunk in; answers how many bytes have arrived. `len` is the declared length, if there is one.
    pub async fn append<S, E>(
        &self,
        name: &RepoName,
        id: UploadId,
        range: Option<ContentRange>,
        len: Option<u64>,
        body: S,
    ) -> Result<u64, RepoError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::fmt::Display,
    {
        self.find_session(name, id).await?;
        let mut turn = self.0.sessions.take(id, name)?;
        let before = turn.session.offset;
        if let Err(error) = self.receive(&mut turn, range, len, None, body).await {
            self.let_go_of_failed(turn, before, &error).await;
            return Err(error);
        }
        // A 202 must survive a kill: nothing may stay in this process's memory alone.
        let slot = Arc::clone(&turn.session.ingest);
        self.block(move || Ok(lock(&slot).as_mut().map_or(Ok(()), Ingest::flush)?))
            .await?;
        Ok(turn.session.offset)
    }

    /// Takes the last bytes, if any, checks the digest and links the blob: durable when this returns. Once all bytes are
    /// there it is brought to its end, whether or not somebody still waits for it.
    pub async fn finish_upload<S, E>(
        &self,
        name: &RepoName,
        id: UploadId,
        range: Option<ContentRange>,
        len: Option<u64>,
        body: S,
        digest: &Digest,
    ) -> Result<(), RepoError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::fmt::Display,
    {
        self.find_session(name, id).await?;
        let mut turn = self.0.sessions.take(id, name)?;
        let before = turn.session.offset;
        let received = self.receive(&mut turn, range, len, Some(digest), body);
        if let Err(error) = received.await {
            self.let_go_of_failed(turn, before, &error).await;
            return Err(error);
        }
        let (repos, digest) = (self.clone(), *digest);
        self.to_its_end(async move { repos.end_upload(turn, before, &digest).await })
            .await
    }

    /// Makes a blob of an upload's bytes, of which `acknowledged` were there before the last request.
    async fn end_upload(
        &self,
        turn: Turn,
        acknowledged: u64,
        digest: &Digest,
    ) -> Result<(), RepoError> {
        let (id, session) = (turn.id, turn.session.clone());
        let ingest = lock(&session.ingest).take();
        let ingest = match ingest {
            Some(ingest) if ingest.offset() > 0 => ingest,
            None if session.offset > 0 => {
                // Its end did not come to an end: what became of it is on disk.
                turn.end();
                return Err(RepoError::UploadUnknown);
            }
            _ => {
                let repo = self.ensure_repo(&session.name).await?;
                self.0.blobs.begin(id, repo, digest.algorithm())
            }
        };
        let done = self.seal(&session.name, ingest, digest).await;
        // A commit of which it is not known whether it stands leaves the upload as it was.
        if done.as_ref().map_or_else(RepoError::is_refusal, |()| true) {
            let _ = self.drop_row(id).await;
        }
        turn.end();
        if acknowledged == 0 && matches!(done, Err(RepoError::Blob(_))) {
            self.drop_refused(&session, id).await;
        }
        done
    }

    /// A whole blob in one request: an upload that nobody can go on with, so nothing stays of one that fails.
    pub async fn push_blob<S, E>(
        &self,
        name: &RepoName,
        owner: &str,
        len: Option<u64>,
        body: S,
        digest: &Digest,
    ) -> Result<(), RepoError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::fmt::Display,
    {
        let id = self.begin_upload(name, digest.algorithm(), owner).await?;
        // Also if the client goes away, which drops this future.
        let _over = Over {
            repos: self.clone(),
            name: name.clone(),
            id,
        };
        self.finish_upload(name, id, None, len, body, digest).await
    }

    /// An upload that the disk refused: its bytes in memory are of no use any more. If some were acknowledged before this
    /// request, it is taken up from its file when the client comes back; else its file goes, so that refused pushes do
    /// not keep the disk full.
    async fn let_go_of_failed(&self, turn: Turn, acknowledged: u64, error: &RepoError) {
        let session = turn.session.clone();
        if !matches!(error, RepoError::Blob(_)) || lock(&session.ingest).take().is_none() {
            return;
        }
        let id = turn.id;
        turn.end();
        if acknowledged == 0 {
            self.drop_refused(&session, id).await;
        }
    }

    async fn drop_refused(&self, session: &Session, id: UploadId) {
        let (name, algorithm) = (&session.name, session.algorithm);
        if let Err(error) = self.discard(name, id, algorithm, &session.ingest).await {
            tracing::debug!(upload = %id, %error, "the file of a refused upload stays until it is reaped");
        }
    }

    /// Gives an upload up; its bytes are freed at once.
    pub async fn cancel_upload(&self, name: &RepoName, id: UploadId) -> Result<(), RepoError> {
        self.find_session(name, id).await?;
        let turn = self.0.sessions.take(id, name)?;
        let repos = self.clone();
        self.to_its_end(async move {
            let Session {
                name,
                algorithm,
                ingest,
                ..
            } = &turn.session;
            repos.discard(name, id, *algorithm, ingest).await?;
            turn.end();
            Ok(())
        })
        .await
    }

    /// Gives up uploads without a byte for the time that is set; answers how many.
    pub async fn reap_uploads(&self) -> Result<usize, RepoError> {
        let idle = self.0.options.upload_idle;
        let mut reaped = 0;
        for id in self.0.sessions.idle(idle) {
            let Some(session) = self.0.sessions.get(id) else {
                continue;
            };
            if let Ok(turn) = self.0.sessions.take(id, &session.name) {
                self.discard(&session.name, id, session.algorithm, &session.ingest)
                    .await?;
                turn.end();
                reaped += 1;
            }
        }
        let blobs = self.0.blobs.clone();
        let files = self.block(move || Ok(blobs.uploads()?)).await?;
        for file in files
            .into_iter()
            .filter(|f| f.idle > idle && self.0.sessions.get(f.id).is_none())
        {
            let _alone = self.0.sessions.alone(file.id).await;
            if self.0.sessions.get(file.id).is_some() {
                continue;
            }
            let blobs = self.0.blobs.clone();
            self.block(move || Ok(blobs.discard(file.id, file.repo, file.algorithm)?))
                .await?;
            self.drop_row(file.id).await?;
            reaped += 1;
        }
        Ok(reaped)
    }

    /// The repository's id, made if it is not there.
    pub(super) async fn ensure_repo(&self, name: &RepoName) -> Result<RepoId, RepoError> {
        let wanted = name.clone();
        let found = self
            .hop(move |_, r| Ok(rows::find(r, wanted.as_str())?))
            .await?;
        if let Some((id, _)) = found {
            return Ok(id);
        }
        let (wanted, at_ms) = (name.clone(), wall_ms());
        let write = self.write("repo.create", move |tx| {
            manifest::writable_or_new(tx, &wanted, at_ms).map(|(id, _)| id)
        });
        write.await
    }

    /// Checks the digest, makes the bytes durable unless the store has them, and links the blob.
    pub(super) async fn seal(
        &self,
        name: &RepoName,
        ingest: Ingest,
        digest: &Digest,
    ) -> Result<(), RepoError> {
        let (inner, digest) = (Arc::clone(&self.0), *digest);
        let ready = self.block(move || {
            let verified = ingest.verify(&digest)?;
            let known = inner
                .store
                .read(|r| Ok::<_, RepoError>(rows::blob(r, &digest)?.is_some()))?;
            Ok(if known {
                Ready::Known(verified)
            } else {
                Ready::New(verified.seal()?)
            })
        });
        let sealed = match ready.await? {
            Ready::New(sealed) => sealed,
            Ready::Known(verified) => {
                let size = verified.size();
                if self.link(name, None, digest, size).await? {
                    // Only now that the commit stands are these bytes spare.
                    return self.block(move || Ok(verified.discard()?)).await;
                }
                self.block(move || Ok(verified.seal()?)).await?
            }
        };
        let size = sealed.size;
        let place = match &sealed.body {
            SealedBody::Placed(place) => Some(place.clone()),
            SealedBody::Inline(_) => None,
        };
        let upload = sealed.upload;
        let linked = self.link(name, Some(sealed), digest, size).await;
        let refused = linked.as_ref().is_err_and(RepoError::is_refusal);
        if refused {
            self.drop_spare(place.into_iter().collect()).await;
        }
        if let Some(upload) = upload.filter(|_| refused || linked.is_ok()) {
            self.drop_file(upload).await;
        }
        linked.map(|_| ())
    }

    /// Links the blob; with `sealed` its row is written, too. `false`: the row was expected and is not there.
    async fn link(
        &self,
        name: &RepoName,
        sealed: Option<Sealed>,
        digest: Digest,
        size: u64,
    ) -> Result<bool, RepoError> {
        let context = self.context("", "blob.put");
        let wanted = name.clone();
        let write = self.write("blob.put", move |tx| {
            let (id, _) = match rows::find(tx, wanted.as_str())? {
                Some(found) => found,
                None => manifest::writable_or_new(tx, &wanted, context.at_ms)?,
            };
            let spare = match &sealed {
                Some(sealed) => manifest::put_blob(tx, sealed, context.at_ms)?,
                None if rows::blob(tx, &digest)?.is_none() => return Ok(None),
                None => None,
            };
            rows::link(tx, id, &digest, size, context.lease_ms)?;
            Ok(Some(spare))
        });
        match write.await? {
            Some(spare) => {
                self.drop_spare(spare.into_iter().collect()).await;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The upload is over, whether its file goes now or with the idle ones.
    async fn drop_file(&self, upload: UploadName) {
        let blobs = self.0.blobs.clone();
        let UploadName {
            id,
            repo,
            algorithm,
        } = upload;
        let gone = self.block(move || Ok(blobs.discard(id, repo, algorithm)?));
        if let Err(error) = gone.await {
            tracing::debug!(upload = %id, %error, "the file of a finished upload stays until it is reaped");
        }
    }

    async fn discard(
        &self,
        name: &RepoName,
        id: UploadId,
        algorithm: Algorithm,
        slot: &Slot,
    ) -> Result<(), RepoError> {
        let (inner, wanted, slot) = (Arc::clone(&self.0), name.clone(), Arc::clone(slot));
        self.block(move || {
            drop(lock(&slot).take());
            let found = inner.store.read(|r| rows::find(r, wanted.as_str()))?;
            found.map_or(Ok(()), |(repo, _)| {
                Ok(inner.blobs.discard(id, repo, algorithm)?)
            })
        })
        .await?;
        self.drop_row(id).await
    }

    pub(super) async fn drop_row(&self, id: UploadId) -> Result<(), RepoError> {
        let key = keys::upload(id);
        let wanted = key.clone();
        if self
            .hop(move |_, r| Ok(r.get(Table::Uploads, &wanted)?.is_none()))
            .await?
        {
            return Ok(());
        }
        let write = self.write("upload.end", move |tx| Ok(tx.delete(Table::Uploads, &key)?));
        write.await
    }

    /// Saves what a session in memory has received.
    pub(super) async fn save_session(&self, id: UploadId) -> Result<(), RepoError> {
        let Some(session) = self.0.sessions.get(id) else {
            return Ok(());
        };
        let slot = Arc::clone(&session.ingest);
        let saved = self
            .block(move || Ok(lock(&slot).as_mut().map(Ingest::checkpoint).transpose()?))
            .await?;
        match saved {
            Some(saved) => self.save(&session.name, id, session.algorithm, saved).await,
            None => Ok(()),
        }
    }

    pub(super) async fn save(
        &self,
        name: &RepoName,
        id: UploadId,
        algorithm: Algorithm,
        saved: Saved,
    ) -> Result<(), RepoError> {
        let (wanted, saved_ms) = (name.clone(), wall_ms());
        let write = self.write("upload.save", move |tx| {
            let Some((repo, _)) = rows::find(tx, wanted.as_str())? else {
                return Ok(());
            };
            let row = UploadRecord {
                repo: repo.0,
                algorithm: algorithm.code(),
                offset: saved.offset,
                hash_state: saved.hash_state.clone(),
                boot_id: saved.boot_id.clone(),
                saved_ms,
            };
            Ok(tx.put(Table::Uploads, &keys::upload(id), &row.to_bytes()?)?)
        });
        write.await
    }
}
