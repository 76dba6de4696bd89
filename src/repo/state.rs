//! What the repositories keep in memory beside their caches: the generations of what is cached.

use crate::types::RepoName;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 1024;

/// A number per group of repositories that every visible change raises. A cached answer carries the number that stood
/// before its read began, so an answer read before a change can never be served after it.
pub(super) struct Generations {
    hasher: RandomState,
    shards: Vec<AtomicU64>,
}

impl Generations {
    /// All at 0.
    pub fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn shard(&self, name: &RepoName) -> &AtomicU64 {
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }

    /// The repository's generation.
    pub fn now(&self, name: &RepoName) -> u64 {
        self.shard(name).load(Ordering::Acquire)
    }

    /// A visible change of the repository was committed.
    pub fn bump(&self, name: &RepoName) {
        self.shard(name).fetch_add(1, Ordering::AcqRel);
    }
}

/// A lock that outlives a panic of its holder: what it guards is valid after every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
