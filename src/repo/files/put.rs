//! Files on their way in: whole, in parts that can be taken up again, and their removal.
//!
//! The bytes go the way of all uploads. Parts of one file by one client belong to one upload, whose id nobody can guess: it is
//! made of the path, the client, and a secret of this registry.

use super::{Filed, NewFile, When};
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::pushes;
use crate::repo::uploads::closing::Bringer;
use crate::repo::uploads::giving_up::Over;
use crate::repo::uploads::receive::BodyStream;
use crate::repo::uploads::sessions::Session;
use crate::repo::{Repos, new_upload_id};
use crate::store::{Get, Lane, Need, StoreError, Table, Txn};
use crate::types::{Algorithm, ContentRange, FilePath, Hasher, Kind, RepoId, RepoName, UploadId};
use std::fs::File;
use std::sync::Arc;

/// The row of the secret.
const SECRET: &[u8] = b"parts_secret";

/// Which bytes of a file a part has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRange {
    /// Of these bytes; `None` only asks how many have come.
    pub range: Option<ContentRange>,
    /// Length of the whole file in bytes, if that is known.
    pub total: Option<u64>,
}

impl PartRange {
    /// Whether nothing follows.
    fn is_last(&self) -> bool {
        let end = self.range.map(|range| range.first + range.len());
        end.is_some() && end == self.total
    }
}

/// What came of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartDone {
    /// So many bytes have come.
    Arrived(u64),
    /// It was the last one.
    Filed(Filed),
}

impl Repos {
    /// Takes a whole file: durable when this returns. `len` is the declared length, if there is one.
    ///
    /// # Errors
    /// [`RepoError::Precondition`], [`RepoError::PathTaken`], and those of every upload.
    pub async fn put_file(
        &self,
        name: &RepoName,
        new: NewFile,
        len: Option<u64>,
        body: impl BodyStream,
    ) -> Result<Filed, RepoError> {
        self.check_file(name, &new).await?;
        let id = self.begin_file(name, new_upload_id()?, &new).await?;
        // Also if the client goes away, which drops this future.
        let _over = Over::always(self, id);
        let turn = self.turn_of(name, Kind::File, id).await?;
        let end = (new.digest, Bringer::File(Arc::new(new)));
        let done = self.finish_in(turn, None, len, body, end).await;
        if done.is_err() && self.0.sessions.close_one(id) {
            Box::pin(self.give_up_closed(id)).await;
        }
        filed(done?)
    }

    /// The same of a file that another process opened and handed over: all of it, and it must have `len` bytes. It is never changed;
    /// where the file system can, its bytes are shared instead of copied.
    ///
    /// # Errors
    /// As [`Repos::put_file`]; of the source: [`crate::blobs::BlobError::Source`].
    pub async fn take_file(
        &self,
        name: &RepoName,
        new: NewFile,
        source: File,
        len: u64,
    ) -> Result<Filed, RepoError> {
        self.check_file(name, &new).await?;
        let id = self.begin_file(name, new_upload_id()?, &new).await?;
        // Also if the caller goes away, which drops this future.
        let _over = Over::always(self, id);
        let turn = self.turn_of(name, Kind::File, id).await?;
        let end = (new.digest, Bringer::File(Arc::new(new)));
        let done = self.finish_from(turn, Arc::new(source), len, end).await;
        if done.is_err() && self.0.sessions.close_one(id) {
            Box::pin(self.give_up_closed(id)).await;
        }
        filed(done?)
    }

    /// Takes a part of a file, which must follow those that came; one from byte 0 begins anew. The last one makes the file, and so
    /// does the question how many have come if it says that these are all: the request that brought the last may have been cut off.
    ///
    /// # Errors
    /// [`RepoError::OutOfOrder`] says how many bytes have come.
    pub async fn put_file_part(
        &self,
        name: &RepoName,
        new: NewFile,
        part: PartRange,
        len: Option<u64>,
        body: impl BodyStream,
    ) -> Result<PartDone, RepoError> {
        self.check_file(name, &new).await?;
        let id = self.part_id(name, &new).await?;
        let found = match self.session_of(name, Kind::File, id).await {
            Ok(session) => Some(session.offset),
            Err(RepoError::UploadUnknown) => None,
            Err(error) => return Err(error),
        };
        let Some(range) = part.range else {
            return match found {
                Some(arrived) if part.total == Some(arrived) => {
                    let turn = self.turn_of(name, Kind::File, id).await?;
                    let end = (new.digest, Bringer::File(Arc::new(new)));
                    let done = self.finish_in(turn, None, len, body, end).await?;
                    filed(done).map(PartDone::Filed)
                }
                found => Ok(PartDone::Arrived(found.unwrap_or(0))),
            };
        };
        match found {
            Some(_) if range.first == 0 => {
                let turn = self.turn_of(name, Kind::File, id).await?;
                self.give_up(turn).await?;
                self.begin_file(name, id, &new).await?;
            }
            Some(_) => {}
            None if range.first == 0 => {
                self.begin_file(name, id, &new).await?;
            }
            None => {
                let got = range.first;
                return Err(RepoError::OutOfOrder { want: 0, got });
            }
        }
        let turn = self.turn_of(name, Kind::File, id).await?;
        if !part.is_last() {
            let arrived = self.append_in(turn, Some(range), len, body).await?;
            return Ok(PartDone::Arrived(arrived));
        }
        let end = (new.digest, Bringer::File(Arc::new(new)));
        let done = self.finish_in(turn, Some(range), len, body, end).await?;
        filed(done).map(PartDone::Filed)
    }

    /// Removes a file, if it is as `when` says.
    pub async fn delete_file(
        &self,
        name: &RepoName,
        path: &FilePath,
        when: When,
        who: &str,
    ) -> Result<(), RepoError> {
        let context = self.context(who, "file.delete");
        let (wanted, path) = (name.clone(), path.clone());
        let change = self.unless_staged(Need::Removes, "file.delete", move |tx| {
            let (id, record) = pushes::home(tx, &wanted, Kind::File)?
                .ok_or_else(|| RepoError::NameUnknown(wanted.clone()))?;
            let mut edit = Edit::open(tx, id, record, &context)?;
            edit.delete_file(&path, &when)?;
            edit.finish()?;
            Ok(())
        });
        change.await
    }

    /// Refuses before the bytes come what is to be refused anyway.
    async fn check_file(&self, name: &RepoName, new: &NewFile) -> Result<(), RepoError> {
        let home = self.home_of(name, Kind::File).await?;
        let id = home.ok_or_else(|| RepoError::NameUnknown(name.clone()))?.id;
        if new.when == When::Always {
            return Ok(());
        }
        let new = new.clone();
        self.hop(move |_, r| super::edit::expected(r, id, &new))
            .await
    }

    async fn begin_file(
        &self,
        name: &RepoName,
        id: UploadId,
        new: &NewFile,
    ) -> Result<UploadId, RepoError> {
        let home = self.home_of(name, Kind::File).await?;
        if home.is_none() {
            return Err(RepoError::NameUnknown(name.clone()));
        }
        let algorithm = new.digest.map_or(Algorithm::Sha256, |d| d.algorithm());
        let owner = new.owner.as_str().into();
        self.begin_session(
            id,
            Session::new(name.clone(), Kind::File, home, algorithm, owner),
        )
    }

    /// The id of the upload to which the parts of a file by one client belong.
    async fn part_id(&self, name: &RepoName, new: &NewFile) -> Result<UploadId, RepoError> {
        let home = self.home_of(name, Kind::File).await?;
        let RepoId(repo) = home.ok_or_else(|| RepoError::NameUnknown(name.clone()))?.id;
        let secret = self.secret().await?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        // The secret goes around the rest, each piece after its length: no two files have one text.
        hasher.update(&secret);
        for piece in [new.path.as_str(), &new.owner] {
            hasher.update(&(piece.len() as u64).to_be_bytes());
            hasher.update(piece.as_bytes());
        }
        hasher.update(&repo.to_be_bytes());
        hasher.update(&secret);
        let mut id = [0; 16];
        let hash = hasher.finish();
        id.copy_from_slice(&hash.as_key()[1..17]);
        Ok(UploadId(id))
    }

    /// 32 random bytes that this registry keeps to itself, made when they are needed first.
    async fn secret(&self) -> Result<Vec<u8>, RepoError> {
        let found = self.hop(|_, r| Ok(r.get(Table::Meta, SECRET)?)).await?;
        if let Some(secret) = found {
            return Ok(secret);
        }
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|e| RepoError::Task(e.to_string()))?;
        let make = move |tx: &mut Txn<'_>| {
            if let Some(secret) = tx.get(Table::Meta, SECRET)? {
                return Ok(secret);
            }
            tx.put(Table::Meta, SECRET, &fresh)?;
            Ok::<_, StoreError>(fresh.to_vec())
        };
        let store = &self.0.store;
        let write = store.write(Lane::Request, Need::Grows, "parts.secret", make);
        Ok(write.await?)
    }
}

/// The file that an upload became.
fn filed(done: Option<Filed>) -> Result<Filed, RepoError> {
    done.ok_or_else(|| RepoError::Task("an upload of a file became none".into()))
}
