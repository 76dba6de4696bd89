//! The audit trail: who did what, when, from where, and how it ended.
//!
//! Owns the rows of the trail and their chain. A change's row begins in the feed, in the change's own transaction, and is moved
//! here; what changed nothing is gathered in memory for some seconds. Must not know how requests come, nor what they mean.
//!
//! `gathering` has what no change carries into the feed, `reading` what reads the trail.

mod act;
mod chain;
mod error;
mod gathering;
mod moving;
mod reading;
pub mod record;
mod trail;
mod turn;

#[cfg(test)]
mod tests;

pub use crate::store::cause::Cause;
pub use act::{Act, Ended, Initiator};
pub use error::{AuditError, AuditErrorKind};
pub use pulls::Pull;
pub use record::{AuditOutcome, Position};
pub use turn::{Accounts, EVERY};
pub use view::{AuditDamage, AuditFilter, AuditPage, AuditRow, AuditVerified};

use crate::store::{Lane, Need, Read, Store, StoreError, StoreErrorKind, Txn};
use gathering::{pulls, refused};
use pulls::Pulls;
use read::TrailSearch;
use reading::{read, verify, view};
use refused::Refused;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trail::Trail;

/// Rows of one answer, at most.
pub const PAGE: usize = 1_000;

/// What the configuration says (filled by `app`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditOptions {
    /// How long rows are kept, in ms of running time.
    pub keep_ms: u64,
    /// How many bytes of rows are kept.
    pub max_bytes: u64,
    /// Whether pulls are counted.
    pub pulls: bool,
}

/// The audit trail; cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    store: Store,
    options: Mutex<AuditOptions>,
    /// Of the options, for every request.
    counts_pulls: AtomicBool,
    /// What the chain begins with where there is none yet.
    start: [u8; 32],
    refused: Refused,
    pulls: Pulls,
    /// One turn at a time.
    turn: tokio::sync::Mutex<turn::Turns>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Audit {
    /// The trail of a store.
    pub fn open(store: Store, options: AuditOptions) -> Result<Self, AuditError> {
        let mut start = [0; 32];
        getrandom::fill(&mut start).map_err(|e| AuditError::Internal(e.to_string()))?;
        Ok(Self(Arc::new(Inner {
            store,
            options: Mutex::new(options),
            counts_pulls: AtomicBool::new(options.pulls),
            start,
            refused: Refused::new(),
            pulls: Pulls::new(),
            turn: tokio::sync::Mutex::default(),
        })))
    }

    /// Takes new settings over.
    pub fn reconfigure(&self, options: AuditOptions) {
        *lock(&self.0.options) = options;
        self.0.counts_pulls.store(options.pulls, Ordering::Relaxed);
    }

    fn options(&self) -> AuditOptions {
        *lock(&self.0.options)
    }

    /// Gathers an act that was refused or failed: its row comes within some seconds, with others of its kind.
    pub fn note(&self, act: &Act, end: &Ended) {
        self.0.refused.note(act.ended(end), act.client());
    }

    /// Writes the row of an act whose changes the feed does not tell of. It is durable when this returns; on a full disk it is
    /// gathered, as clients must not use up what the operator needs then.
    pub async fn write(&self, act: &Act, end: &Ended) -> Result<(), AuditError> {
        let (row, start) = (act.ended(end), self.0.start);
        let need = if row.address.is_empty() {
            Need::Keeps
        } else {
            Need::Grows
        };
        let later = row.clone();
        let add = move |tx: &mut Txn<'_>| {
            let mut trail = Trail::open(tx, start)?;
            trail.add(&row)?;
            trail.close()
        };
        match self.change(Lane::Request, need, "audit.add", add).await {
            Err(error) if error.kind() == StoreErrorKind::NoSpace => {
                self.0.refused.note(later, act.client());
                Ok(())
            }
            done => Ok(done?),
        }
    }

    /// Whether pulls are counted now.
    pub fn counts_pulls(&self) -> bool {
        self.0.counts_pulls.load(Ordering::Relaxed)
    }

    /// Counts a pull; the caller has asked whether pulls are counted.
    pub fn pulled(&self, pull: Pull) {
        self.0.pulls.note(pull);
    }

    /// The rows that are wanted, at most `limit` (1 to [`PAGE`]): those after a position, or the newest. What has happened by
    /// now is among them where [`Audit::turn`] was called before.
    pub async fn list(
        &self,
        filter: AuditFilter,
        after: Option<Position>,
        limit: usize,
        newest: bool,
    ) -> Result<AuditPage, AuditError> {
        let mut search = TrailSearch::new(filter, after, limit.clamp(1, PAGE), newest);
        while !search.is_done() {
            search = self
                .hop(move |store| {
                    store.read(|r| search.step(r))?;
                    Ok(search)
                })
                .await?;
        }
        Ok(search.page())
    }

    /// Computes the chain again. `anchor`: a hash that the log once told of (64 hexadecimal digits).
    pub async fn verify(&self, anchor: Option<String>) -> Result<AuditVerified, AuditError> {
        let verify = move |r: &Read<'_>| verify::verify(r, anchor.as_deref());
        self.hop(move |store| Ok(store.read(verify)?)).await
    }

    /// One read, off the async threads.
    async fn hop<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let store = self.0.store.clone();
        let task = tokio::task::spawn_blocking(move || read(&store)).await;
        task.map_err(|e| AuditError::Internal(e.to_string()))?
    }

    async fn change<T: Send + 'static>(
        &self,
        lane: Lane,
        need: Need,
        name: &'static str,
        change: impl FnMut(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.store.write(lane, need, name, change).await
    }
}
