//! What every room of the repositories needs of their memory: the epochs of what is cached, and locks.

use super::Inner;
use crate::store::epochs::{Epoch, Subject};
use crate::types::RepoName;
use std::sync::{Mutex, MutexGuard, PoisonError};

impl Inner {
    /// The epoch of what readers see of a repository: to be taken before the store is read.
    pub(super) fn epoch(&self, name: &RepoName) -> Epoch {
        self.epochs.now(Subject::Shown(name.as_str()))
    }
}

/// A lock that outlives a panic of its holder: what it guards is valid after every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
