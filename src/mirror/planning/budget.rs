//! What a run may hold in memory before its blobs come: the manifests themselves, and digests of what they lead to.
//!
//! What is on its way is not counted and is bounded by how many are: a few manifests, or pages of referrers, at a time.

use crate::mirror::MirrorError;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a digest with its size and place in the lists of a plan takes.
pub(in crate::mirror) const ENTRY: u64 = 256;
/// What a manifest takes beside its bytes.
pub(in crate::mirror) const MANIFEST: u64 = 512;

/// The bytes of one run.
pub(in crate::mirror) struct Budget {
    limit: u64,
    used: AtomicU64,
    /// Of pages of referrers, read and let go again.
    paged: AtomicU64,
}

impl Budget {
    /// None of `limit` bytes used.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            paged: AtomicU64::new(0),
        }
    }

    /// Counts bytes that stay until the end of the run.
    pub fn keep(&self, bytes: u64) -> Result<(), MirrorError> {
        self.coming(bytes)?;
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses what will be too much, before it comes.
    pub fn coming(&self, bytes: u64) -> Result<(), MirrorError> {
        let needed = self.used.load(Ordering::Relaxed).saturating_add(bytes);
        self.within(needed)
    }

    /// Counts a page of a list of referrers: all of them together may be as long as what is kept.
    pub fn page(&self, bytes: u64) -> Result<(), MirrorError> {
        let before = self.paged.fetch_add(bytes, Ordering::Relaxed);
        self.within(before.saturating_add(bytes))
    }

    fn within(&self, needed: u64) -> Result<(), MirrorError> {
        let limit = self.limit;
        if needed <= limit {
            Ok(())
        } else {
            Err(MirrorError::Memory { needed, limit })
        }
    }
}

/// Bytes for people, in MiB, rounded up.
pub(in crate::mirror) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
