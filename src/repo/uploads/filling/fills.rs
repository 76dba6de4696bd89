//! The fills under way in this process: each blob of a repository has one at a time.

use crate::repo::error::RepoError;
use crate::repo::state::lock;
use crate::types::{Digest, RepoId, UploadId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

type Open = Mutex<HashMap<(RepoId, Digest), Option<UploadId>>>;

/// Who fills what.
#[derive(Default)]
pub(in crate::repo) struct Fills(Arc<Open>);

/// The right to fill one blob of one repository; given back when dropped.
pub(in crate::repo) struct FillTurn {
    open: Arc<Open>,
    what: (RepoId, Digest),
}

impl Fills {
    /// Takes the turn, or says that another has it.
    pub fn take(&self, repo: RepoId, digest: Digest) -> Result<FillTurn, RepoError> {
        let what = (repo, digest);
        let mut open = lock(&self.0);
        if open.contains_key(&what) {
            return Err(RepoError::UploadBusy);
        }
        open.insert(what, None);
        Ok(FillTurn {
            open: Arc::clone(&self.0),
            what,
        })
    }

    /// Whether a fill that is under way writes this file.
    pub fn writes(&self, id: UploadId) -> bool {
        lock(&self.0).values().any(|open| *open == Some(id))
    }
}

impl FillTurn {
    /// The file that is written from now on.
    pub fn writing(&self, id: UploadId) {
        lock(&self.open).insert(self.what, Some(id));
    }
}

impl Drop for FillTurn {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.what);
    }
}
