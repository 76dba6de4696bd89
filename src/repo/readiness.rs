//! Whether what is stored can be read at all.
//!
//! Owns that one question. Must not decide what follows from the answer.

use super::Repos;
use super::error::RepoError;
use crate::store::{Get as _, StoreError, Table};

/// How far the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It answers reads, and takes changes as far as is known.
    Ready,
    /// It answers reads; the disk is full.
    Full,
    /// It does not answer; the log says why.
    Unreadable,
}

impl Repos {
    /// Reads one row to find out.
    ///
    /// # Errors
    /// The task that reads ended early.
    pub async fn readiness(&self) -> Result<Readiness, RepoError> {
        let this = self.clone();
        self.block(move || {
            let store = &this.0.store;
            let read = store.read::<_, StoreError>(|r| r.get(Table::Meta, b"ready").map(|_| ()));
            Ok(match read {
                Ok(()) if store.is_full() => Readiness::Full,
                Ok(()) => Readiness::Ready,
                Err(error) => {
                    tracing::warn!(%error, "not ready: the store cannot be read");
                    Readiness::Unreadable
                }
            })
        })
        .await
    }
}
