//! Uploads that end without becoming a blob: cancelled, left alone for too long, broken off where nothing of them may stay,
//! or begun for a repository that was deleted. Their files, rows and bytes go, whoever has them at that moment.

use crate::blobs::{Ingest, Purpose, UploadFile, UploadListing, UploadName};
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::failures::Failures;
use crate::repo::rows::keys;
use crate::repo::rows::record::{RepoRecord, UploadRecord};
use crate::repo::state::lock;
use crate::repo::uploads::rest;
use crate::repo::uploads::sessions::{Session, Turn};
use crate::store::record::Record;
use crate::store::{Get, Need, Table};
use crate::types::{RepoId, UploadId};
use futures_util::future::join_all;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Uploads that are given up at once: their rows go in few commits.
const AT_ONCE: usize = 64;
/// How long an upload may keep its file open where many do.
const PARKED: Duration = Duration::from_mins(1);
/// Files that are listed in one go.
const FILES: usize = 1000;
/// Repositories that one read looks at.
const REPOS: usize = 1000;

/// Gives an upload up when dropped, unless it is a blob by then. No request gets it after that, and one that has it ends.
pub(in crate::repo) struct Over {
    repos: Repos,
    id: UploadId,
    /// Only if a quota let it go on without room for it: then nothing of it may stay.
    spared: bool,
}

impl Over {
    /// For an upload of which nothing stays but a blob.
    pub fn always(repos: &Repos, id: UploadId) -> Self {
        let (repos, spared) = (repos.clone(), false);
        Self { repos, id, spared }
    }

    /// For one of which nothing stays if a quota spared it; to be dropped before the turn.
    pub fn if_spared(repos: &Repos, id: UploadId) -> Self {
        let (repos, spared) = (repos.clone(), true);
        Self { repos, id, spared }
    }

    /// Whether it gives the upload up.
    pub fn ends(&self) -> bool {
        !self.spared || self.repos.0.uploads.is_spared(self.id)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        if !self.ends() || !self.repos.0.sessions.close_one(self.id) {
            return;
        }
        // Without a runtime the server is at its end, and the next start gives up what no row knows.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (repos, id) = (self.repos.clone(), self.id);
        runtime.spawn(async move { repos.give_up_closed(id).await });
    }
}

impl Repos {
    /// Gives up the upload of this turn.
    pub(in crate::repo) async fn give_up(&self, turn: Turn) -> Result<(), RepoError> {
        let repos = self.clone();
        self.to_its_end(async move {
            repos.discard(&turn.session, turn.id, None).await?;
            turn.end();
            Ok(())
        })
        .await
    }

    /// Gives up an upload that was closed, once no request has it any more.
    pub(in crate::repo) async fn give_up_closed(&self, id: UploadId) {
        if let Some(turn) = self.0.sessions.last(id).await
            && let Err(error) = self.give_up(turn).await
        {
            // Nobody gets it, and the next look at idle ones tries again.
            tracing::warn!(upload = %id, %error, "an upload that is over cannot be removed yet");
        }
    }

    /// Gives up uploads without a byte for the time that is set, and those of deleted repositories; answers how many. One
    /// that cannot be removed keeps no other.
    pub async fn reap_uploads(&self) -> Result<usize, RepoError> {
        let idle = self.0.options.upload_idle;
        let (mut reaped, mut failures) = (0, Failures::default());
        if self.0.sessions.len() == 0 {
            self.0.memory.rest();
        }
        for id in self.0.sessions.idle(idle) {
            if let Ok(turn) = self.0.sessions.take_any(id, |_| true) {
                let done = failures.note(self.give_up(turn).await)?;
                reaped += usize::from(done.is_some());
            }
        }
        failures.note(self.rest_parked().await)?;
        let deleted = self.deleted(self.0.sessions.repos()).await?;
        self.close_uploads_of(|repo| deleted.contains(&repo)).await;
        let mut listing = self.listing(Purpose::Session).await?;
        while let Some(files) = self.listed(&mut listing).await? {
            let repos = files.iter().map(|file| file.name.repo).collect();
            let deleted = self.deleted(repos).await?;
            for file in files {
                if file.idle > idle || deleted.contains(&file.name.repo) {
                    let done = failures.note(self.reap_file(file.name).await)?;
                    reaped += usize::from(done == Some(true));
                }
            }
        }
        self.reap_rows(&mut failures).await?;
        failures.tell(
            "some uploads that are over cannot be removed yet; this is tried again each minute",
        );
        Ok(reaped + self.reap_fills(idle).await?)
    }

    /// Drops the rows of uploads that have no file and are not in memory.
    async fn reap_rows(&self, failures: &mut Failures) -> Result<(), RepoError> {
        let mut from = Some(Vec::new());
        while let Some(start) = from.take() {
            let page = self.hop(move |_, r| Ok(r.scan(Table::Uploads, &start, &[], FILES)?));
            let page = page.await?;
            if let Some((last, _)) = page.last().filter(|_| page.len() == FILES) {
                from = Some([last.as_slice(), &[0]].concat());
            }
            let blobs = self.0.blobs.clone();
            let bare = self.block(move || {
                let mut bare = Vec::new();
                for (key, value) in page {
                    // One that cannot be read is the check's.
                    let (Ok(id), Ok(row)) = (key.try_into(), UploadRecord::from_bytes(&value))
                    else {
                        continue;
                    };
                    let (id, repo) = (UploadId(id), RepoId(row.repo));
                    if blobs.uploads.session_file(id, repo)?.is_none() {
                        bare.push((id, repo));
                    }
                }
                Ok(bare)
            });
            for (id, repo) in failures.note(bare.await)?.unwrap_or_default() {
                failures.note(self.reap_row(id, repo).await)?;
            }
        }
        Ok(())
    }

    /// Drops an upload's row, unless it is in memory or has a file. One that may be just taken up is left to the next look:
    /// that can take long.
    async fn reap_row(&self, id: UploadId, repo: RepoId) -> Result<(), RepoError> {
        let Some(_alone) = self.0.sessions.alone_now(id) else {
            return Ok(());
        };
        if self.0.sessions.get(id).is_some() {
            return Ok(());
        }
        let blobs = self.0.blobs.clone();
        let file = self.block(move || Ok(blobs.uploads.session_file(id, repo)?));
        if file.await?.is_some() {
            return Ok(());
        }
        self.0.uploads.end(id);
        self.0.sessions.gone(id);
        self.drop_row(id).await
    }

    /// Where many uploads have their files open, syncs and closes those that nobody has written to lately.
    async fn rest_parked(&self) -> Result<(), RepoError> {
        for id in self.0.sessions.parked(PARKED) {
            if let Ok(turn) = self.0.sessions.take_to_rest(id) {
                let (slot, hold) = (Arc::clone(&turn.session.ingest), turn.hold());
                let sync = move || {
                    rest(&slot);
                    drop(hold);
                    Ok(())
                };
                self.block(sync).await?;
            }
        }
        Ok(())
    }

    /// The files of all uploads, or of all fills, for [`Repos::listed`].
    pub(in crate::repo) async fn listing(
        &self,
        purpose: Purpose,
    ) -> Result<Option<UploadListing>, RepoError> {
        let blobs = self.0.blobs.clone();
        self.block(move || Ok(Some(blobs.uploads.listing(purpose)?)))
            .await
    }

    /// Some more of them; `None` at the end, and after an error.
    pub(in crate::repo) async fn listed(
        &self,
        listing: &mut Option<UploadListing>,
    ) -> Result<Option<Vec<UploadFile>>, RepoError> {
        let Some(mut taken) = listing.take() else {
            return Ok(None);
        };
        let some = self.block(move || Ok((taken.some(FILES)?, taken)));
        let (some, taken) = some.await?;
        *listing = Some(taken);
        Ok(some)
    }

    /// Removes an upload's file and row, unless it is in memory. One that may be just taken up is left to the next look,
    /// and ends by itself if its repository is deleted.
    async fn reap_file(&self, file: UploadName) -> Result<bool, RepoError> {
        let Some(_alone) = self.0.sessions.alone_now(file.id) else {
            return Ok(false);
        };
        if self.0.sessions.get(file.id).is_some() {
            return Ok(false);
        }
        self.end_left(file).await?;
        Ok(true)
    }

    /// Removes what is left of an upload that is not in memory. The caller has seen to it that nobody takes it up.
    pub(in crate::repo) async fn end_left(&self, file: UploadName) -> Result<(), RepoError> {
        let blobs = self.0.blobs.clone();
        self.block(move || Ok(blobs.uploads.discard(file)?)).await?;
        self.0.uploads.end(file.id);
        self.0.sessions.gone(file.id);
        self.drop_row(file.id).await
    }

    /// Those repositories that are deleted.
    pub(in crate::repo) async fn deleted(
        &self,
        repos: HashSet<RepoId>,
    ) -> Result<HashSet<RepoId>, RepoError> {
        let repos: Vec<_> = repos.into_iter().collect();
        let mut deleted = HashSet::new();
        for some in repos.chunks(REPOS) {
            let some = some.to_vec();
            let found = self.hop(move |_, r| {
                let mut deleted = Vec::new();
                for repo in &some {
                    let row = r.get(Table::Repos, &keys::repo(*repo))?;
                    // A row that is not there or cannot be read is the check's.
                    let record = row.and_then(|row| RepoRecord::from_bytes(&row).ok());
                    if record.is_some_and(|record| record.deleted) {
                        deleted.push(*repo);
                    }
                }
                Ok(deleted)
            });
            deleted.extend(found.await?);
        }
        Ok(deleted)
    }

    /// Ends the uploads of a repository that was deleted just now, in memory and of before. One that is being written ends
    /// with its next piece, which nobody waits for here.
    pub(in crate::repo) async fn end_uploads_of(&self, repo: RepoId) -> Result<(), RepoError> {
        self.close_uploads_of(|of| of == repo).await;
        let mut failures = Failures::default();
        let mut listing = self.listing(Purpose::Session).await?;
        while let Some(files) = self.listed(&mut listing).await? {
            for file in files {
                if file.name.repo == repo {
                    failures.note(self.reap_file(file.name).await)?;
                }
            }
        }
        failures.tell("some uploads of a deleted repository are removed a minute later");
        Ok(())
    }

    /// Closes the uploads in memory for such repositories and gives up those that nobody has at the moment; the others are
    /// given up behind.
    async fn close_uploads_of(&self, is_it: impl Fn(RepoId) -> bool) {
        let is_of = |session: &Session| session.repo.get().is_some_and(|repo| is_it(*repo));
        let closed = self.0.sessions.close(|_, session| is_of(session));
        for some in closed.chunks(AT_ONCE) {
            let give_up = some.iter().map(|id| async move {
                let free = self.0.sessions.take_any(*id, |_| true);
                match free {
                    Ok(turn) => {
                        if let Err(error) = self.give_up(turn).await {
                            tracing::warn!(upload = %id, %error, "an upload of a deleted repository cannot be removed yet");
                        }
                    }
                    Err(RepoError::UploadBusy) => {
                        let (repos, id) = (self.clone(), *id);
                        tokio::spawn(async move { repos.give_up_closed(id).await });
                    }
                    Err(_) => {}
                }
            });
            join_all(give_up).await;
        }
    }

    /// Removes an upload's file and row. `named` is the repository in the file's name, where its ingest is gone.
    pub(in crate::repo) async fn discard(
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
            Ok(inner.blobs.uploads.discard(file)?)
        })
        .await?;
        self.0.uploads.end(id);
        self.drop_row_of(session, id).await
    }

    /// The row of an upload that is over, unless it never had one.
    pub(in crate::repo) async fn drop_row_of(
        &self,
        session: &Session,
        id: UploadId,
    ) -> Result<(), RepoError> {
        if session.row.may_be() {
            self.drop_row(id).await
        } else {
            Ok(())
        }
    }

    pub(in crate::repo) async fn drop_row(&self, id: UploadId) -> Result<(), RepoError> {
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
}
