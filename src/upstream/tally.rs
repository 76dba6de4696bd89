//! Plain counters of one upstream's use.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What clients were answered from, and what came, since the start.
#[derive(Debug, Default)]
pub struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
}

/// The numbers of a [`Tally`] at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Requests that were answered from here.
    pub hits: u64,
    /// Requests for which the upstream was asked.
    pub misses: u64,
    /// Requests that got what is here since the upstream could not be asked.
    pub stale: u64,
    /// Requests that the upstream failed.
    pub errors: u64,
    /// Bytes of blobs that came.
    pub bytes: u64,
}

impl Tally {
    /// As it is now.
    pub fn now(&self) -> Tallied {
        Tallied {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            stale: self.stale.load(Relaxed),
            errors: self.errors.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Relaxed);
    }

    pub(super) fn miss(&self) {
        self.misses.fetch_add(1, Relaxed);
    }

    pub(super) fn stale(&self) {
        self.stale.fetch_add(1, Relaxed);
    }

    pub(super) fn error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    pub(super) fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
