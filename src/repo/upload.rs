//! Uploads: bytes that clients send into a repository. How they go on after a restart is `resume`'s, their end `closing`'s.
//!
//! An upload lives in memory from its first request. Its file is made with its first byte; every ten seconds of
//! receiving, and at stop, its bytes are synced and then its row saved. What a row does not cover is hashed from the file
//! if the machine was not rebooted meanwhile, else cut off.

use super::error::RepoError;
use super::receive::Body;
use super::record::UploadRecord;
use super::sessions::{Hold, Session, Turn};
use super::state::lock;
use super::{Repos, keys, new_upload_id, pushes};
use crate::blobs::{Ingest, Saved, UploadName};
use crate::store::record::Record;
use crate::store::{Get, Need, Table};
use crate::types::{Algorithm, ContentRange, Digest, RepoId, RepoName, UploadId, wall_ms};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Until an upload that is still in use is looked at again.
const AGAIN: Duration = Duration::from_millis(50);

/// Gives an upload up when dropped, unless it is a blob by then.
struct Over {
    repos: Repos,
    name: RepoName,
    id: UploadId,
    /// Only if a quota let it go on without room for it: then nothing of it may stay.
    spared: bool,
}

impl Drop for Over {
    fn drop(&mut self) {
        if self.repos.0.sessions.get(self.id).is_none()
            || self.spared && !self.repos.0.uploads.is_spared(self.id)
        {
            return;
        }
        // Without a runtime the server is at its end, and the next start gives up what no row knows.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (repos, name, id) = (self.repos.clone(), self.name.clone(), self.id);
        runtime.spawn(async move {
            // What is still being written of it has its end soon.
            while let Err(RepoError::UploadBusy) = repos.give_up(&name, id).await {
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
        let home = self.home_of(name).await?;
        let id = new_upload_id()?;
        let (sessions, most) = (&self.0.sessions, self.0.options.uploads_max);
        let session = Session::new(name.clone(), home, algorithm, owner.into());
        sessions.begin(id, session, most)?;
        Ok(id)
    }

    /// Bytes that have arrived.
    pub async fn upload_offset(&self, name: &RepoName, id: UploadId) -> Result<u64, RepoError> {
        Ok(self.session_of(name, id).await?.offset)
    }

    /// The upload, if its repository takes pushes and is still the one that the upload was begun for: what every method
    /// of an upload asks first.
    async fn session_of(&self, name: &RepoName, id: UploadId) -> Result<Session, RepoError> {
        let home = self.home_of(name).await?;
        self.find_session(name, id).await?;
        let session = self.0.sessions.get(id);
        let session = session.filter(|s| s.name == *name && s.is_of(home));
        session.ok_or(RepoError::UploadUnknown)
    }

    /// As [`Repos::session_of`], for this request alone.
    async fn turn_of(&self, name: &RepoName, id: UploadId) -> Result<Turn, RepoError> {
        self.session_of(name, id).await?;
        self.0.sessions.take(id, name)
    }

    /// Streams a chunk in; answers how many bytes have arrived. `len` is the declared length, if there is one.
    pub async fn append(
        &self,
        name: &RepoName,
        id: UploadId,
        range: Option<ContentRange>,
        len: Option<u64>,
        body: impl Body,
    ) -> Result<u64, RepoError> {
        let mut turn = self.turn_of(name, id).await?;
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
    pub async fn finish_upload(
        &self,
        name: &RepoName,
        id: UploadId,
        range: Option<ContentRange>,
        len: Option<u64>,
        body: impl Body,
        digest: &Digest,
    ) -> Result<(), RepoError> {
        self.session_of(name, id).await?;
        // Dropped after the turn.
        let _over = Over {
            repos: self.clone(),
            name: name.clone(),
            id,
            spared: true,
        };
        let mut turn = self.0.sessions.take(id, name)?;
        let before = turn.session.offset;
        let received = self.receive(&mut turn, range, len, Some(digest), body);
        let last = match received.await {
            Ok(last) => last,
            Err(error) => {
                self.let_go_of_failed(turn, before, &error).await;
                return Err(error);
            }
        };
        let (repos, digest) = (self.clone(), *digest);
        self.to_its_end(async move { repos.end_upload(turn, last, before, &digest).await })
            .await
    }

    /// A whole blob in one request: an upload that nobody can go on with, so nothing stays of one that fails.
    pub async fn push_blob(
        &self,
        name: &RepoName,
        owner: &str,
        len: Option<u64>,
        body: impl Body,
        digest: &Digest,
    ) -> Result<(), RepoError> {
        let id = self.begin_upload(name, digest.algorithm(), owner).await?;
        // Also if the client goes away, which drops this future.
        let _over = Over {
            repos: self.clone(),
            name: name.clone(),
            id,
            spared: false,
        };
        let done = self.finish_upload(name, id, None, len, body, digest).await;
        if done.is_err() {
            let _ = self.give_up(name, id).await;
        }
        done
    }

    /// An upload that the disk refused: its bytes in memory are of no use any more. If some were acknowledged before this
    /// request, it is taken up from its file when the client comes back; else its file goes, so that refused pushes do
    /// not keep the disk full.
    async fn let_go_of_failed(&self, turn: Turn, acknowledged: u64, error: &RepoError) {
        let session = turn.session.clone();
        if !error.is_of_disk() {
            return;
        }
        let Some(ingest) = lock(&session.ingest).take() else {
            return;
        };
        let (id, repo) = (turn.id, ingest.repo());
        drop(ingest);
        turn.end();
        let repos = self.clone();
        let settled = self.to_its_end(async move {
            if acknowledged == 0 {
                repos.drop_refused(&session, id, repo).await;
            }
            repos.settle_upload(id, repo, session.algorithm).await;
            Ok(())
        });
        if let Err(error) = settled.await {
            tracing::error!(upload = %id, %error, "a refused upload was not settled");
        }
    }

    /// Gives up a refused upload, whose file has this repository in its name.
    pub(super) async fn drop_refused(&self, session: &Session, id: UploadId, repo: RepoId) {
        if let Err(error) = self.discard(session, id, Some(repo)).await {
            tracing::debug!(upload = %id, %error, "the file of a refused upload stays until it is reaped");
        }
    }

    /// Gives an upload up; its bytes are freed at once.
    pub async fn cancel_upload(&self, name: &RepoName, id: UploadId) -> Result<(), RepoError> {
        self.session_of(name, id).await?;
        self.give_up(name, id).await
    }

    /// The same for an upload in memory of this process's own, whatever its repository is by now.
    async fn give_up(&self, name: &RepoName, id: UploadId) -> Result<(), RepoError> {
        let turn = self.0.sessions.take(id, name)?;
        let repos = self.clone();
        self.to_its_end(async move {
            repos.discard(&turn.session, id, None).await?;
            turn.end();
            Ok(())
        })
        .await
    }

    /// Gives up uploads without a byte for the time that is set; answers how many.
    pub async fn reap_uploads(&self) -> Result<usize, RepoError> {
        let idle = self.0.options.upload_idle;
        let mut reaped = 0;
        if self.0.sessions.len() == 0 {
            self.0.memory.rest();
        }
        for id in self.0.sessions.idle(idle) {
            let Some(session) = self.0.sessions.get(id) else {
                continue;
            };
            if let Ok(turn) = self.0.sessions.take(id, &session.name) {
                self.discard(&session, id, None).await?;
                turn.end();
                reaped += 1;
            }
        }
        let blobs = self.0.blobs.clone();
        let files = self.block(move || Ok(blobs.uploads()?)).await?;
        for file in files.into_iter().filter(|file| file.idle > idle) {
            let id = file.name.id;
            let _alone = self.0.sessions.alone(id).await;
            if self.0.sessions.get(id).is_some() {
                continue;
            }
            let blobs = self.0.blobs.clone();
            self.block(move || Ok(blobs.discard(file.name)?)).await?;
            self.0.uploads.end(id);
            self.drop_row(id).await?;
            reaped += 1;
        }
        Ok(reaped + self.reap_fills(idle).await?)
    }

    /// The repository that an upload is for: the one that it was begun for, if the name still means that; for one that
    /// was begun before there was any, the name's, made if it is not there.
    pub(super) async fn repo_of(&self, session: &Session) -> Result<RepoId, RepoError> {
        let home = self.home_of(&session.name).await?;
        if session.repo.get().is_none() {
            let id = match home {
                Some(home) => home.id,
                None => self.make_home(&session.name).await?,
            };
            return Ok(*session.repo.get_or_init(|| id));
        }
        let home = home.filter(|_| session.is_of(home));
        home.map(|home| home.id).ok_or(RepoError::UploadUnknown)
    }

    async fn make_home(&self, name: &RepoName) -> Result<RepoId, RepoError> {
        let (wanted, at_ms) = (name.clone(), wall_ms());
        let write = self.write(Need::Grows, "repo.create", move |tx| {
            pushes::home_or_new(tx, &wanted, at_ms).map(|(id, _)| id)
        });
        write.await
    }

    /// Removes an upload's file and row. `named` is the repository in the file's name, where its ingest is gone.
    async fn discard(
        &self,
        session: &Session,
        id: UploadId,
        named: Option<RepoId>,
    ) -> Result<(), RepoError> {
        let (inner, dropped) = (Arc::clone(&self.0), session.clone());
        self.block(move || {
            let ingest = lock(&dropped.ingest).take();
            let named = ingest.as_ref().map(Ingest::repo).or(named);
            drop(ingest);
            // Without a repository it has had no byte, and so no file.
            let Some(repo) = named.or(dropped.repo.get().copied()) else {
                return Ok(());
            };
            let file = UploadName::session(id, repo, dropped.algorithm);
            Ok(inner.blobs.discard(file)?)
        })
        .await?;
        self.0.uploads.end(id);
        self.drop_row_of(session, id).await
    }

    /// The row of an upload that is over, unless it never had one.
    pub(super) async fn drop_row_of(
        &self,
        session: &Session,
        id: UploadId,
    ) -> Result<(), RepoError> {
        if session.saved.load(Ordering::Acquire) {
            self.drop_row(id).await
        } else {
            Ok(())
        }
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
        let write = self.write(Need::Removes, "upload.end", move |tx| {
            Ok(tx.delete(Table::Uploads, &key)?)
        });
        write.await
    }

    /// Saves what a session in memory has received. While its bytes are being synced the next request, if this one is
    /// dropped, is kept away by `hold`: it would wait for the disk on a thread that serves.
    pub(super) async fn save_session(
        &self,
        id: UploadId,
        hold: Option<Arc<Hold>>,
    ) -> Result<(), RepoError> {
        let Some(session) = self.0.sessions.get(id) else {
            return Ok(());
        };
        let slot = Arc::clone(&session.ingest);
        let saved = self.block(move || {
            let _until_synced = hold;
            Ok(lock(&slot).as_mut().map(Ingest::checkpoint).transpose()?)
        });
        match saved.await? {
            Some(saved) => {
                session.saved.store(true, Ordering::Release);
                self.save(&session, id, saved).await
            }
            None => Ok(()),
        }
    }

    async fn save(&self, session: &Session, id: UploadId, saved: Saved) -> Result<(), RepoError> {
        let (wanted, algorithm) = (session.name.clone(), session.algorithm);
        let (repo, saved_ms) = (session.repo.get().copied(), wall_ms());
        let write = self.write(Need::Grows, "upload.save", move |tx| {
            let Some((_, repo)) = pushes::home(tx, &wanted)?
                .zip(repo)
                .filter(|((home, _), repo)| home == repo)
            else {
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
