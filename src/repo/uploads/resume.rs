//! Uploads of before: taken up from their rows and files after a restart, or after a request that broke off. Of a
//! closing that was cut off, the rows say whether it was the end.

use crate::blobs::{BlobErrorKind, Blobs, Ingest, Purpose, Saved, UploadFile, UploadName};
use crate::repo::error::RepoError;
use crate::repo::quota::Uploads;
use crate::repo::reclaim::condemn_stray;
use crate::repo::rows::keys;
use crate::repo::rows::record::{RepoRecord, UploadRecord};
use crate::repo::uploads::sessions::Sessions;
use crate::repo::{Origin, Repos, pushes};
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, Store, StoreError, Table};
use crate::types::{Algorithm, Hasher, Kind, RepoId, RepoName, UploadId, wall_ms};
use std::collections::HashMap;
use tokio_util::sync::CancellationToken;

/// An upload on disk.
struct Left {
    repo: RepoId,
    algorithm: Algorithm,
    /// What its row says; for one that was never saved: that all of its file was written in this boot.
    saved: Option<Saved>,
}

impl Repos {
    /// Brings an upload of before into memory. If its client goes away before it is hashed that ends, and who comes back
    /// goes on from there.
    pub(in crate::repo) async fn find_session(
        &self,
        name: &RepoName,
        kind: Kind,
        id: UploadId,
    ) -> Result<(), RepoError> {
        if self.0.sessions.get(id).is_some() {
            return Ok(());
        }
        let waits = CancellationToken::new();
        let _until_dropped = waits.clone().drop_guard();
        let (repos, name) = (self.clone(), name.clone());
        // Of a client that went away nothing may run on beside what the next one does.
        self.to_its_end(async move { repos.reopen((&name, kind), id, &waits).await })
            .await
    }

    async fn reopen(
        &self,
        (name, kind): (&RepoName, Kind),
        id: UploadId,
        waits: &CancellationToken,
    ) -> Result<(), RepoError> {
        let _alone = tokio::select! {
            alone = self.0.sessions.alone(id) => alone,
            () = waits.cancelled() => return Err(RepoError::UploadBusy),
        };
        if self.0.sessions.get(id).is_some() {
            return Ok(());
        }
        let found = match self.take_up((name, kind), id, waits).await {
            Err(RepoError::Blob(e)) if e.kind() == BlobErrorKind::Damaged => {
                // Nothing of it can be used, so there is nothing that the client could go on with.
                tracing::info!(upload = %id, error = %e, "an upload of before the restart is given up");
                self.drop_row(id).await?;
                None
            }
            Err(RepoError::NameUnknown(_)) => None,
            other => other?,
        };
        let (algorithm, mut ingest) = found.ok_or(RepoError::UploadUnknown)?;
        if self.0.sessions.is_crowded() {
            let rested = self.block(move || Ok(ingest.rest().map(|()| ingest)?));
            ingest = rested.await?;
        }
        let of = (name.clone(), kind);
        self.0.sessions.insert(id, of, algorithm, ingest);
        Ok(())
    }

    /// An upload of before: from its row, or from its file alone if it never lived long enough to be saved. `None` if
    /// there is none, or if it is a blob by now. Not to be called twice at once for one upload.
    async fn take_up(
        &self,
        (name, kind): (&RepoName, Kind),
        id: UploadId,
        waits: &CancellationToken,
    ) -> Result<Option<(Algorithm, Ingest)>, RepoError> {
        let Some(left) = self.left((name, kind), id).await? else {
            return Ok(None);
        };
        let Left {
            repo,
            algorithm,
            saved,
        } = left;
        let file = UploadName::session(id, repo, algorithm);
        let taken = self.take_up_file(file, saved, waits).await;
        if matches!(&taken, Err(RepoError::Blob(e)) if e.kind() == BlobErrorKind::Damaged)
            && !self.settle_upload(id, repo, algorithm).await
        {
            self.0.sessions.gone(id);
        }
        if matches!(&taken, Err(RepoError::UploadUnknown)) {
            // Who ends the uploads of a deleted repository waits for none that is taken up.
            self.end_left(file).await?;
        }
        if let Some(ingest) = taken? {
            return Ok(Some((algorithm, ingest)));
        }
        self.drop_row(id).await?;
        Ok(None)
    }

    /// The same from a file and what its row says of it; `None` if it is a blob by now, and the file is gone then. The
    /// caller has seen to it that nobody else takes it up.
    pub(in crate::repo) async fn take_up_file(
        &self,
        name: UploadName,
        saved: Option<Saved>,
        waits: &CancellationToken,
    ) -> Result<Option<Ingest>, RepoError> {
        let twin = self.twin_of(name).await?;
        let blobs = self.0.blobs.clone();
        if let Some(place) = twin {
            // In the order of commits, so that none which is still on its way can name the place afterwards.
            let (digest, stray, at_ms) = (place.digest()?, place.clone(), wall_ms());
            let removing = self.removing().await;
            let is_stray = self.write(Need::Removes, "upload.reopen", move |tx| {
                condemn_stray(tx, &digest, &stray, at_ms)
            });
            if !is_stray.await? {
                self.block(move || Ok(blobs.uploads.discard(name)?)).await?;
                self.0.uploads.end(name.id);
                self.0.sessions.gone(name.id);
                return Ok(None);
            }
            tracing::info!(upload = %name.id, "its closing was cut off before the commit; the upload stands as before");
            let blobs = blobs.clone();
            let remove = move || {
                let _until_gone = removing;
                Ok(blobs.content.remove(&[place])?)
            };
            self.block(remove).await?;
        }
        let hashed = self.0.sessions.hashed(name.id);
        let resume = move || {
            Ok(blobs
                .uploads
                .resume(name, saved.as_ref(), hashed.as_ref())?)
        };
        let resuming = self.block(resume).await?;
        Ok(Some(self.hash_again(name, resuming, waits).await?))
    }

    async fn left(
        &self,
        (name, kind): (&RepoName, Kind),
        id: UploadId,
    ) -> Result<Option<Left>, RepoError> {
        let wanted = name.clone();
        self.hop(move |inner, r| {
            let (repo, _) = pushes::home(r, &wanted, kind)?
                .ok_or_else(|| RepoError::NameUnknown(wanted.clone()))?;
            let row = r.get(Table::Uploads, &keys::upload(id))?;
            if let Some(row) = row {
                let row = UploadRecord::from_bytes(&row)?;
                let algorithm =
                    Algorithm::from_code(row.algorithm).ok_or(RepoError::UploadUnknown)?;
                let saved = Saved {
                    offset: row.offset,
                    hash_state: row.hash_state,
                    boot_id: row.boot_id,
                };
                return Ok((row.repo == repo.0).then_some(Left {
                    repo,
                    algorithm,
                    saved: Some(saved),
                }));
            }
            let file = inner.blobs.uploads.session_file(id, repo)?;
            Ok(file.map(|file| Left {
                repo,
                algorithm: file.algorithm,
                saved: inner.written_in_boot.clone().map(|boot_id| Saved {
                    offset: 0,
                    hash_state: Hasher::new(file.algorithm).save(),
                    boot_id,
                }),
            }))
        })
        .await
    }
}

/// Counts what a process before this one left of uploads and fills, for quotas and for who began them.
pub(in crate::repo) fn count_left(
    store: &Store,
    blobs: &Blobs,
    uploads: &Uploads,
    sessions: &Sessions,
) -> Result<(), RepoError> {
    let files = blobs
        .uploads
        .sessions()?
        .into_iter()
        .chain(blobs.uploads.fills()?);
    for UploadFile { name, len, .. } in files {
        let (repo, upload) = store.read(|r| {
            let repo = r.get(Table::Repos, &keys::repo(name.repo))?;
            Ok::<_, StoreError>((repo, r.get(Table::Uploads, &keys::upload(name.id))?))
        })?;
        let record = repo.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
        let repo = record.map_or_else(String::new, |record| record.name);
        uploads.raise(name.id, &repo, len);
        if name.purpose == Purpose::Session {
            // A row that cannot be read is the check's.
            let row = upload.and_then(|row| UploadRecord::from_bytes(&row).ok());
            let owner = match row.map(|row| row.owner).filter(|owner| !owner.is_empty()) {
                Some(owner) => Some(owner.into()),
                None => blobs.uploads.owner_of(name)?,
            };
            if let Some(owner) = owner {
                sessions.found(name.id, owner);
            }
        }
    }
    Ok(())
}

/// Notes this boot's id in the store; answers the one of the process before, which wrote the upload files.
///
/// After a reboot, what has no row is whole in name only, and goes first: once this boot is noted nothing would tell it
/// from what is written from now on.
pub(in crate::repo) fn remember_boot(
    store: &Store,
    blobs: &Blobs,
) -> Result<Option<String>, RepoError> {
    const KEY: &[u8] = b"boot_id";
    let now = blobs.boot_id();
    let before = store
        .read(|r| r.get(Table::Meta, KEY))?
        .and_then(|b| String::from_utf8(b).ok());
    if before.as_deref() != Some(now) {
        for file in blobs.uploads.sessions()? {
            let row = store.read(|r| r.get(Table::Uploads, &keys::upload(file.name.id)))?;
            if row.is_none() {
                blobs.uploads.discard(file.name)?;
            }
        }
        let now = now.to_owned();
        store.write_blocking(Lane::Request, Need::Keeps, "boot", move |tx| {
            tx.put(Table::Meta, KEY, now.as_bytes())
        })?;
    }
    Ok(before.filter(|b| !b.is_empty()))
}

/// Removes what mirror runs of older versions left half done: fills that look like uploads of clients, under ids that
/// anybody can compute. Until the first start of a version that has fills of their own a mirror took no pushes, so every
/// upload file of a mirror's repository is one of them; after it, each is a client's.
pub(in crate::repo) fn drop_old_fills(store: &Store, blobs: &Blobs) -> Result<(), RepoError> {
    const DONE: &[u8] = b"no_old_fills";
    if store.read(|r| r.get(Table::Meta, DONE))?.is_some() {
        return Ok(());
    }
    let mut mirrors: HashMap<RepoId, bool> = HashMap::new();
    for file in blobs.uploads.sessions()? {
        let repo = file.name.repo;
        let is_mirror = match mirrors.get(&repo) {
            Some(known) => *known,
            None => is_mirror(store, repo)?,
        };
        mirrors.insert(repo, is_mirror);
        if !is_mirror {
            continue;
        }
        tracing::info!(upload = %file.name.id, "what a mirror run of an older version left half done is removed");
        blobs.uploads.discard(file.name)?;
        let key = keys::upload(file.name.id);
        store.write_blocking(Lane::Request, Need::Keeps, "fill.old", move |tx| {
            tx.delete(Table::Uploads, &key)
        })?;
    }
    store.write_blocking(Lane::Request, Need::Keeps, "fill.old", move |tx| {
        tx.put(Table::Meta, DONE, &[])
    })?;
    Ok(())
}

fn is_mirror(store: &Store, repo: RepoId) -> Result<bool, RepoError> {
    let row = store.read(|r| r.get(Table::Repos, &keys::repo(repo)))?;
    // A row that cannot be read is the check's.
    let row = row.and_then(|row| RepoRecord::from_bytes(&row).ok());
    Ok(row.is_some_and(|row| row.origin != Origin::Local.code()))
}
