//! What the repositories keep in memory beside their caches: the generations of what is cached, and what is known to be
//! absent.

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

    /// A change of which is not known what repositories it touches was committed.
    pub fn bump_all(&self) {
        for shard in &self.shards {
            shard.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Whether something of which there mostly is none was looked for and not found since one was last made.
#[derive(Default)]
pub(super) struct Absence {
    made: AtomicU64,
    /// One more than `made` was when none was found.
    none_at: AtomicU64,
}

impl Absence {
    /// To be asked before the store is; goes to [`Absence::found_none`].
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Whether there is known to be none.
    pub fn is_known(&self) -> bool {
        self.none_at.load(Ordering::Acquire) == self.made() + 1
    }

    /// There was none in the store.
    pub fn found_none(&self, made: u64) {
        self.none_at.store(made + 1, Ordering::Release);
    }

    /// One was made; after the commit and before its answer.
    pub fn end(&self) {
        self.made.fetch_add(1, Ordering::AcqRel);
    }
}

/// A lock that outlives a panic of its holder: what it guards is valid after every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_there_before_one_was_made_is_not_known_to_be_absent() {
        let quotas = Absence::default();
        assert!(!quotas.is_known(), "nobody has looked");
        let before = quotas.made();
        quotas.found_none(before);
        assert!(quotas.is_known());
        quotas.end();
        assert!(!quotas.is_known());
        quotas.found_none(before);
        assert!(!quotas.is_known(), "looked before, told after");
        quotas.found_none(quotas.made());
        assert!(quotas.is_known());
    }
}
