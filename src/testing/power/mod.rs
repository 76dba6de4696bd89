//! The power-cut tests: the real store, contents and repositories over a disk that forgets what was not synced.
//!
//! A run notes every step of the disk and every acknowledgement. Then, before each step, the power goes: from the steps
//! so far comes a disk that the next start may find (what was not synced is there, or not, or torn, in any order), the
//! registry starts on it, and the checker compares it with the ledger. `DRYPORT_POWER_SEEDS=N` makes N runs of it.

#![allow(
    clippy::disallowed_methods,
    reason = "the simulated disk makes files of its own"
)]

mod cases;
mod check;
mod cuts;
mod disk;
mod kinds;
mod ledger;
mod scenario;
mod state;
mod tests;

use crate::app::AppError;
use crate::blobs::{BlobOptions, Blobs};
use crate::gc::{self, Collector, GcOptions};
use crate::repo::{RepoError, RepoOptions, Repos};
use crate::store::{Store, StoreOptions};
use std::sync::Arc;
use std::time::Duration;

/// The few modules of the registry that write to disk.
struct Service {
    store: Store,
    blobs: Blobs,
    repos: Repos,
}

impl Service {
    fn open(disk: &disk::Disk) -> Result<Self, AppError> {
        let dir = disk.dir();
        let store = Store::open_with(store_options(disk), Arc::new(disk.clone()))?;
        let options = BlobOptions {
            dir,
            reserve_bytes: 0,
            owed_bytes: std::sync::Arc::default(),
            inline_max: 16 << 10,
        };
        let opened: Result<_, AppError> = (|| {
            let blobs = Blobs::open_on(options, Arc::new(disk.clone()))?;
            let repos = Repos::open(store.clone(), blobs.clone(), repo_options())?;
            Ok((blobs, repos))
        })();
        match opened {
            Ok((blobs, repos)) => Ok(Self {
                store,
                blobs,
                repos,
            }),
            Err(e) => {
                store.close();
                Err(e)
            }
        }
    }

    /// One sweep of the collector; the history keeps nothing.
    async fn sweep(&self) -> Result<gc::Report, RepoError> {
        let options = GcOptions {
            interval: Duration::ZERO,
            files_per_second: 0,
        };
        Collector::new(self.repos.clone(), options)
            .sweep(true)
            .await
    }

    /// A clean stop.
    async fn close(&self) {
        self.repos.close().await;
        self.store.close();
    }

    /// Lets go of what a killed process held.
    fn abandon(self) {
        self.store.close();
    }
}

fn store_options(disk: &disk::Disk) -> StoreOptions {
    StoreOptions {
        dir: disk.dir(),
        cache_bytes: 1 << 20,
        slow: Duration::from_hours(1),
        holder: "power".into(),
        reserve_bytes: disk.reserve(),
        floor_bytes: 0,
        log_bytes: 64 << 10,
        upgrade_without_copy: false,
    }
}

fn repo_options() -> RepoOptions {
    RepoOptions {
        lease: Duration::from_hours(24),
        keep: Duration::from_hours(24),
        upload_idle: Duration::from_hours(24),
        manifest_max: 4 << 20,
        uploads_max: 1000,
        upload_memory: 48 << 20,
        strict: true,
        cache_bytes: 0,
        format: &crate::formats::oci::Oci,
    }
}

/// Numbers that the same seed gives again (splitmix64).
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5dee_ce66)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
