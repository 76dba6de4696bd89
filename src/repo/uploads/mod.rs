//! Uploads: bytes that clients send into a repository. How they go on after a restart is `resume`'s, their end as a blob
//! `closing`'s, any other `giving_up`'s.
//!
//! An upload lives in memory from its first request. Its file is made with its first byte; every ten seconds or 256 MiB,
//! and at stop, its bytes are synced and then its row saved (`saving`). What a row does not cover is hashed from the file
//! if the machine was not rebooted meanwhile, else cut off.
//!
//! `filling` has the fills of mirrors, `receiving` the way of a body into an upload.

pub(in crate::repo) mod closing;
mod filling;
pub(in crate::repo) mod giving_up;
pub(in crate::repo) mod hashing;
pub(in crate::repo) mod memory;
pub(in crate::repo) mod owners;
mod receiving;
pub(in crate::repo) mod resume;
pub(in crate::repo) mod sessions;

pub(in crate::repo) use filling::{fill, fills};

use crate::repo::error::RepoError;
use crate::repo::files::Filed;
use crate::repo::state::lock;
use crate::repo::uploads::closing::Bringer;
use crate::repo::uploads::giving_up::Over;
use crate::repo::uploads::receive::{BodyStream, Goal};
use crate::repo::uploads::sessions::{Hold, Session, Slot, Turn};
use crate::repo::{Repos, new_upload_id, pushes};
use crate::store::Need;
use crate::types::{Algorithm, ContentRange, Digest, Kind, RepoId, RepoName, UploadId, wall_ms};
pub(in crate::repo) use receiving::{piece, receive, saving};
use std::sync::Arc;

/// Closes an upload's file where many are open, if its request is dropped at any point.
struct Park {
    repos: Repos,
    of: Option<(Arc<Hold>, Slot)>,
}

impl Park {
    fn of(repos: &Repos, turn: &Turn) -> Self {
        Self {
            repos: repos.clone(),
            of: Some((turn.hold(), Arc::clone(&turn.session.ingest))),
        }
    }

    /// The request sees to it itself.
    fn end(mut self) {
        self.of = None;
    }
}

impl Drop for Park {
    fn drop(&mut self) {
        let of = self.of.take();
        let Some((hold, slot)) = of.filter(|_| self.repos.0.sessions.is_crowded()) else {
            return;
        };
        hold.rests();
        // Without a runtime the server is at its end.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || {
                rest(&slot);
                drop(hold);
            });
        }
    }
}

/// Closes an upload's file; one that cannot be synced takes nothing more, as its next request hears.
pub(in crate::repo) fn rest(slot: &Slot) {
    if let Some(ingest) = lock(slot).as_mut()
        && let Err(error) = ingest.rest()
    {
        tracing::warn!(upload = %ingest.name().id, %error, "an upload cannot be made durable");
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
        let home = self.home_of(name, Kind::Oci).await?;
        let session = Session::new(name.clone(), Kind::Oci, home, algorithm, owner.into());
        self.begin_session(new_upload_id()?, session)
    }

    /// Takes a new upload in.
    pub(in crate::repo) fn begin_session(
        &self,
        id: UploadId,
        session: Session,
    ) -> Result<UploadId, RepoError> {
        let most = self.0.options.uploads_max;
        self.0.sessions.begin(id, session, most)?;
        Ok(id)
    }

    /// Bytes that have arrived.
    pub async fn upload_offset(&self, name: &RepoName, id: UploadId) -> Result<u64, RepoError> {
        Ok(self.session_of(name, Kind::Oci, id).await?.offset)
    }

    /// The upload, if its repository takes pushes and is still the one that the upload was begun for: what every method
    /// of an upload asks first.
    pub(in crate::repo) async fn session_of(
        &self,
        name: &RepoName,
        kind: Kind,
        id: UploadId,
    ) -> Result<Session, RepoError> {
        let home = self.home_of(name, kind).await?;
        self.find_session(name, kind, id).await?;
        let session = self.0.sessions.get(id);
        let session =
            session.filter(|s| s.name == *name && s.kind == kind && s.is_of(home) && s.is_open());
        session.ok_or(RepoError::UploadUnknown)
    }

    /// As [`Repos::session_of`], for this request alone.
    pub(in crate::repo) async fn turn_of(
        &self,
        name: &RepoName,
        kind: Kind,
        id: UploadId,
    ) -> Result<Turn, RepoError> {
        self.session_of(name, kind, id).await?;
        self.0.sessions.take_soon(id, name).await
    }

    /// Streams a chunk in; answers how many bytes have arrived. `len` is the declared length, if there is one.
    pub async fn append(
        &self,
        name: &RepoName,
        id: UploadId,
        range: Option<ContentRange>,
        len: Option<u64>,
        body: impl BodyStream,
    ) -> Result<u64, RepoError> {
        let turn = self.turn_of(name, Kind::Oci, id).await?;
        self.append_in(turn, range, len, body).await
    }

    /// The same in a turn of the upload.
    pub(in crate::repo) async fn append_in(
        &self,
        mut turn: Turn,
        range: Option<ContentRange>,
        len: Option<u64>,
        body: impl BodyStream,
    ) -> Result<u64, RepoError> {
        let park = Park::of(self, &turn);
        let before = turn.session.offset;
        let received = self.receive(&mut turn, range, len, Goal::More, body).await;
        park.end();
        if let Err(error) = received {
            Box::pin(self.let_go_of_failed(turn, before, &error)).await;
            return Err(error);
        }
        // A 202 must survive a kill: nothing may stay in this process's memory alone.
        self.park(&turn).await?;
        Ok(turn.session.offset)
    }

    /// Hands all bytes of an upload that waits for its next request to the kernel; where many do, its file is synced and
    /// closed, too.
    async fn park(&self, turn: &Turn) -> Result<(), RepoError> {
        let (slot, crowded) = (
            Arc::clone(&turn.session.ingest),
            self.0.sessions.is_crowded(),
        );
        let hold = turn.hold();
        self.block(move || {
            let _until_done = hold;
            match lock(&slot).as_mut() {
                Some(ingest) if crowded => Ok(ingest.rest()?),
                Some(ingest) => Ok(ingest.flush()?),
                None => Ok(()),
            }
        })
        .await
    }

    /// Takes the last bytes, if any, checks the digest and links the blob: durable when this returns. Once all bytes are
    /// there it is brought to its end, whether or not somebody still waits for it.
    pub async fn finish_upload(
        &self,
        name: &RepoName,
        id: UploadId,
        range: Option<ContentRange>,
        len: Option<u64>,
        body: impl BodyStream,
        digest: &Digest,
    ) -> Result<(), RepoError> {
        let turn = self.turn_of(name, Kind::Oci, id).await?;
        let end = (Some(*digest), Bringer::Push);
        self.finish_in(turn, range, len, body, end).await.map(drop)
    }

    /// The same in a turn of the upload, for whatever becomes of its bytes; `None` as digest takes any.
    pub(in crate::repo) async fn finish_in(
        &self,
        mut turn: Turn,
        range: Option<ContentRange>,
        len: Option<u64>,
        body: impl BodyStream,
        end: (Option<Digest>, Bringer),
    ) -> Result<Option<Filed>, RepoError> {
        let id = turn.id;
        let park = Park::of(self, &turn);
        // Dropped before the turn: no request comes in between.
        let over = Over::if_spared(self, id);
        let before = turn.session.offset;
        let goal = Goal::End(end.0);
        let received = self.receive(&mut turn, range, len, goal, body);
        let last = received.await;
        park.end();
        // Nothing may stay of a spared one, whatever was acknowledged.
        let before = if over.ends() { 0 } else { before };
        let last = match last {
            Ok(last) => last,
            Err(error) => {
                drop(over);
                Box::pin(self.let_go_of_failed(turn, before, &error)).await;
                return Err(error);
            }
        };
        let repos = self.clone();
        self.to_its_end(async move { repos.end_upload(turn, last, before, end).await })
            .await
    }

    /// A whole blob in one request: an upload that nobody can go on with, so nothing stays of one that fails.
    pub async fn push_blob(
        &self,
        name: &RepoName,
        owner: &str,
        len: Option<u64>,
        body: impl BodyStream,
        digest: &Digest,
    ) -> Result<(), RepoError> {
        let id = self.begin_upload(name, digest.algorithm(), owner).await?;
        // Also if the client goes away, which drops this future.
        let _over = Over::always(self, id);
        let done = self.finish_upload(name, id, None, len, body, digest).await;
        if done.is_err() && self.0.sessions.close_one(id) {
            Box::pin(self.give_up_closed(id)).await;
        }
        done
    }

    /// After a request that failed. What was refused before its bytes came leaves the upload as it was. One whose file takes
    /// nothing more is taken up from there when the client comes back, if some of its bytes were acknowledged before this
    /// request; else its file goes, so that refused pushes do not keep the disk full.
    async fn let_go_of_failed(&self, mut turn: Turn, acknowledged: u64, error: &RepoError) {
        let ingest = if error.is_of_disk() {
            let came_in_vain = acknowledged == 0 && turn.session.offset > 0;
            lock(&turn.session.ingest).take_if(|ingest| ingest.has_failed() || came_in_vain)
        } else {
            None
        };
        let Some(ingest) = ingest else {
            if let Err(error) = self.park(&turn).await {
                tracing::debug!(upload = %turn.id, %error, "a refused upload is taken up from its file");
            }
            return;
        };
        turn.session.offset = ingest.offset();
        let (id, repo) = (turn.id, ingest.repo());
        drop(ingest);
        let repos = self.clone();
        let settled = self.to_its_end(async move {
            if acknowledged == 0 {
                repos.drop_refused(&turn.session, id, repo).await;
            }
            repos.settle(turn, repo).await;
            Ok(())
        });
        if let Err(error) = settled.await {
            tracing::error!(upload = %id, %error, "a refused upload was not settled");
        }
    }

    /// Ends the turn of an upload that came to no good end, as what is on disk of it says: it is over, or it waits there to
    /// be taken up and counts for its owner. Until that is known no other request gets it. What was hashed of it is not
    /// believed any more: whether the disk took those bytes nobody knows.
    pub(in crate::repo) async fn settle(&self, turn: Turn, repo: RepoId) {
        let algorithm = turn.session.algorithm;
        if self.settle_upload(turn.id, repo, algorithm).await {
            turn.leave();
        } else {
            turn.end();
        }
    }

    /// Gives up a refused upload, whose file has this repository in its name.
    pub(in crate::repo) async fn drop_refused(
        &self,
        session: &Session,
        id: UploadId,
        repo: RepoId,
    ) {
        if let Err(error) = self.discard(session, id, Some(repo)).await {
            tracing::debug!(upload = %id, %error, "the file of a refused upload stays until it is reaped");
        }
    }

    /// Gives an upload up; its bytes are freed at once.
    pub async fn cancel_upload(&self, name: &RepoName, id: UploadId) -> Result<(), RepoError> {
        let turn = self.turn_of(name, Kind::Oci, id).await?;
        self.give_up(turn).await
    }

    /// The repository that an upload is for: the one that it was begun for, if the name still means that; for one that
    /// was begun before there was any, the name's, made if it is not there.
    pub(in crate::repo) async fn repo_of(&self, session: &Session) -> Result<RepoId, RepoError> {
        let home = self.home_of(&session.name, session.kind).await?;
        if session.repo.get().is_none() {
            let id = match home {
                Some(home) => home.id,
                // A push makes no repository of files.
                None if session.kind != Kind::Oci => {
                    return Err(RepoError::NameUnknown(session.name.clone()));
                }
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
}
