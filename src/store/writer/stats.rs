//! Plain counters of the store, and its running time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Upper bounds, in microseconds, of the commit time buckets; a last bucket takes the rest.
pub const COMMIT_MICROS_BOUNDS: [u64; 11] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000,
];
/// Upper bounds, in closures, of the batch size buckets; a last bucket takes the rest.
pub const BATCH_BOUNDS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 512];

/// Plain counters, since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Durable commits: batches, and those of no closure that idle moments make.
    pub commits: u64,
    /// Those among them for which redb synced its own file, not the log.
    pub settled: u64,
    /// Closures that were run, whatever became of them.
    pub closures: u64,
    /// Merges and commits that failed.
    pub failed_commits: u64,
    /// Closures waiting right now, both lanes.
    pub queued: u64,
    /// Most closures answered by one commit.
    pub largest_batch: u64,
    /// Microseconds spent in commits, in all.
    pub commit_micros: u64,
    /// Length of the metadata file in bytes.
    pub file_bytes: u64,
    /// Closures that panicked.
    pub panics: u64,
    /// Times the file was opened again after a failure.
    pub reopened: u64,
    /// Changes that were refused because the disk has no room for them above the reserve.
    pub refused_full: u64,
    /// Bytes that the reserve lacks: it was given up, or could not be made.
    pub reserve_owed: u64,
    /// Rows that all reads together looked at.
    pub read_rows: u64,
    /// The most rows that one read looked at.
    pub read_looks: u64,
    /// The most rows that one closure looked at, on the writer's thread.
    pub write_looks: u64,
    /// Commits by time, each counted once; bounds: [`COMMIT_MICROS_BOUNDS`].
    pub commit_micros_buckets: [u64; COMMIT_MICROS_BOUNDS.len() + 1],
    /// Commits by the number of closures they answered, each counted once; bounds: [`BATCH_BOUNDS`].
    pub batch_buckets: [u64; BATCH_BOUNDS.len() + 1],
}

/// The counters as the writer keeps them.
#[derive(Default)]
pub(in crate::store) struct Stats {
    pub commits: AtomicU64,
    pub settled: AtomicU64,
    pub closures: AtomicU64,
    pub failed_commits: AtomicU64,
    pub largest_batch: AtomicU64,
    pub commit_micros: AtomicU64,
    pub file_bytes: AtomicU64,
    pub panics: AtomicU64,
    pub reopened: AtomicU64,
    pub refused_full: AtomicU64,
    pub read_rows: AtomicU64,
    pub read_looks: AtomicU64,
    pub write_looks: AtomicU64,
    commit_buckets: [AtomicU64; COMMIT_MICROS_BOUNDS.len() + 1],
    batch_buckets: [AtomicU64; BATCH_BOUNDS.len() + 1],
}

impl Stats {
    /// Notes one durable commit that answered `closures`.
    pub fn committed(&self, took: Duration, closures: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Relaxed);
        self.commit_micros.fetch_add(micros, Relaxed);
        self.largest_batch.fetch_max(closures, Relaxed);
        self.commit_buckets[bucket(&COMMIT_MICROS_BOUNDS, micros)].fetch_add(1, Relaxed);
        self.batch_buckets[bucket(&BATCH_BOUNDS, closures)].fetch_add(1, Relaxed);
    }

    /// A copy of everything; the caller adds what others know.
    pub fn snapshot(&self) -> Counters {
        Counters {
            commits: self.commits.load(Relaxed),
            settled: self.settled.load(Relaxed),
            closures: self.closures.load(Relaxed),
            failed_commits: self.failed_commits.load(Relaxed),
            queued: 0,
            largest_batch: self.largest_batch.load(Relaxed),
            commit_micros: self.commit_micros.load(Relaxed),
            file_bytes: self.file_bytes.load(Relaxed),
            panics: self.panics.load(Relaxed),
            reopened: self.reopened.load(Relaxed),
            refused_full: self.refused_full.load(Relaxed),
            reserve_owed: 0,
            read_rows: self.read_rows.load(Relaxed),
            read_looks: self.read_looks.load(Relaxed),
            write_looks: self.write_looks.load(Relaxed),
            commit_micros_buckets: load(&self.commit_buckets),
            batch_buckets: load(&self.batch_buckets),
        }
    }
}

fn load<const N: usize>(from: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|i| from[i].load(Relaxed))
}

fn bucket(bounds: &[u64], value: u64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

/// Running time: the saved base and the monotonic time since the open. The wall clock has no part in it. After a
/// crash it resumes from the last commit; it counts nothing while the store is closed.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Clock {
    base: u64,
    opened: Instant,
}

impl Clock {
    /// Goes on from `base` ms.
    pub fn resume(base: u64) -> Self {
        Self {
            base,
            opened: Instant::now(),
        }
    }

    /// Running time in ms.
    pub fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base.saturating_add(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_commit_falls_into_one_bucket() {
        let stats = Stats::default();
        for (micros, closures) in [(250, 1), (251, 2), (9_000_000, 600)] {
            stats.committed(Duration::from_micros(micros), closures);
        }
        let seen = stats.snapshot();
        assert_eq!((seen.commits, seen.largest_batch), (3, 600));
        assert_eq!(seen.commit_micros_buckets[..2], [1, 1]);
        assert_eq!(seen.commit_micros_buckets.last(), Some(&1));
        assert_eq!(seen.batch_buckets.iter().sum::<u64>(), 3);
        assert_eq!(seen.batch_buckets.last(), Some(&1));
    }
}
