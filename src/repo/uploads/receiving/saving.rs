//! Saving: the row from which an upload goes on after a restart, and when it is written.
//!
//! What no row covers is hashed again, so a row is due by what came for the upload, in however many requests.

use crate::blobs::{Ingest, Saved};
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::repo::rows::record::UploadRecord;
use crate::repo::state::lock;
use crate::repo::uploads::sessions::{Hold, Session};
use crate::repo::{Repos, pushes};
use crate::store::record::Record;
use crate::store::{Need, Table};
use crate::types::{UploadId, wall_ms};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a row is saved while bytes come in.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// So many bytes without a row, and one is saved before that.
const SAVE_BYTES: u64 = 256 << 20;

/// What the store knows of an upload.
pub(in crate::repo) struct SavedRow {
    may_be: AtomicBool,
    last: Mutex<Last>,
}

/// The last time that a row was saved, or the upload's beginning in this process.
struct Last {
    offset: u64,
    at: Instant,
}

impl SavedRow {
    /// For an upload that begins now in this process; `may_be`: the store may have a row of it.
    pub fn new(may_be: bool) -> Self {
        let at = Instant::now();
        Self {
            may_be: may_be.into(),
            last: Mutex::new(Last { offset: 0, at }),
        }
    }

    /// Whether the store may have a row.
    pub fn may_be(&self) -> bool {
        self.may_be.load(Ordering::Acquire)
    }

    /// Whether one is due, now that so many bytes are there. It is not due again at once: who is told so saves one.
    fn is_due(&self, offset: u64) -> bool {
        let mut last = lock(&self.last);
        let more = offset.saturating_sub(last.offset);
        if more == 0 || (more < SAVE_BYTES && last.at.elapsed() <= SAVE_EVERY) {
            return false;
        }
        (last.offset, last.at) = (offset, Instant::now());
        true
    }
}

impl Repos {
    /// Saves what a session in memory has received, if that is due.
    pub(in crate::repo) async fn save_if_due(
        &self,
        id: UploadId,
        session: &Session,
        hold: impl FnOnce() -> Arc<Hold>,
    ) -> Result<(), RepoError> {
        if !session.row.is_due(session.offset) {
            return Ok(());
        }
        self.save_session(id, Some(hold())).await
    }

    /// Saves what a session in memory has received. Until the row stands no other request gets the upload, also if this
    /// one is dropped: `hold` keeps it away. A row that came after the upload's end would stay for ever.
    pub(in crate::repo) async fn save_session(
        &self,
        id: UploadId,
        hold: Option<Arc<Hold>>,
    ) -> Result<(), RepoError> {
        let Some(session) = self.0.sessions.get(id) else {
            return Ok(());
        };
        let repos = self.clone();
        self.to_its_end(async move {
            let _until_saved = hold;
            let slot = Arc::clone(&session.ingest);
            let saved = repos
                .block(move || Ok(lock(&slot).as_mut().map(Ingest::checkpoint).transpose()?));
            match saved.await? {
                Some(saved) => {
                    session.row.may_be.store(true, Ordering::Release);
                    repos.save(&session, id, saved).await
                }
                None => Ok(()),
            }
        })
        .await
    }

    async fn save(&self, session: &Session, id: UploadId, saved: Saved) -> Result<(), RepoError> {
        let (wanted, algorithm) = (session.name.clone(), session.algorithm);
        let (repo, saved_ms) = (session.repo.get().copied(), wall_ms());
        let (owner, kind) = (session.owner.clone().unwrap_or_default(), session.kind);
        let write = self.write(Need::Grows, "upload.save", move |tx| {
            let Some((_, repo)) = pushes::home(tx, &wanted, kind)?
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
                owner: owner.to_string(),
            };
            Ok(tx.put(Table::Uploads, &keys::upload(id), &row.to_bytes()?)?)
        });
        write.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_due_by_what_came_since_the_last() {
        let row = SavedRow::new(false);
        assert!(!row.is_due(0) && !row.is_due(SAVE_BYTES - 1));
        assert!(row.is_due(SAVE_BYTES) && !row.is_due(SAVE_BYTES + 1));
        let Some(before) = Instant::now().checked_sub(SAVE_EVERY + Duration::from_secs(1)) else {
            return;
        };
        lock(&row.last).at = before;
        assert!(!row.is_due(SAVE_BYTES), "nothing came");
        assert!(row.is_due(SAVE_BYTES + 1) && !row.is_due(SAVE_BYTES + 2));
    }
}
