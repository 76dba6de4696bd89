//! The collector: when it sweeps, how fast, and one sweep at a time. What a due row means and which rows go is `repo`'s.
//!
//! It holds no lock that a client could wait for: it works in small background transactions, decides from rows alone,
//! and what a crash leaves is found by the next sweep. Its work is proportional to what became due, not to what is there.

mod alone;
pub mod check;

pub use alone::Alone;

use crate::repo::reclaim::Tally;
use crate::repo::{Deleted, Removal, RepoError, Repos};
use crate::store::{StoreError, StoreErrorKind};
use alone::Last;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Due rows planned in one read.
const PAGE: usize = 128;
/// Content files removed in one go, folder by folder: so many share the syncs of few folders.
const FILES: usize = 4000;
/// What one sweep drops may make more due at once (a manifest, then its blobs): so often it looks again.
const ROUNDS: usize = 12;
/// After a failure the next sweep waits at least this long.
const REST: Duration = Duration::from_secs(5);

/// So often a sweep that was asked for is tried while the disk does not take its changes, and the pause between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Why a sweep was left before its end.
enum Cut {
    /// Somebody ended it.
    Skipped,
    /// The server stops.
    Stopped,
}

/// Hears what came of a sweep so far; must not block.
pub type Hears = Arc<dyn Fn(&Report) + Send + Sync>;

/// Settings of a [`Collector`].
#[derive(Debug, Clone, Copy)]
pub struct GcOptions {
    /// Time between sweeps; zero is never.
    pub interval: Duration,
    /// Most content files removed a second; 0 is no limit.
    pub files_per_second: u64,
}

/// What a sweep did.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
pub struct Report {
    /// Rows.
    #[serde(flatten)]
    pub rows: Tally,
    /// Content files removed.
    pub files_removed: u64,
    /// How long it took (ms).
    pub took_ms: u64,
}

/// Counters for metrics; all since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct SweepCounters {
    /// Sweeps finished.
    pub sweeps: u64,
    /// Sweeps that failed.
    pub failed: u64,
    /// Blobs freed.
    pub freed_blobs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
}

/// Sweeps; cheap to clone.
#[derive(Clone)]
pub struct Collector(Arc<Inner>);

struct Inner {
    repos: Repos,
    options: GcOptions,
    /// Held by the one sweep that runs.
    turn: Mutex<()>,
    /// The last sweep of the timer, and who wants the one that runs to end.
    alone: Last<Report>,
    skip: Notify,
    sweeps: AtomicU64,
    failed: AtomicU64,
    freed_blobs: AtomicU64,
    freed_bytes: AtomicU64,
}

impl Collector {
    /// A collector over these repositories; nothing runs yet.
    pub fn new(repos: Repos, options: GcOptions) -> Self {
        Self(Arc::new(Inner {
            repos,
            options,
            turn: Mutex::new(()),
            alone: Last::default(),
            skip: Notify::new(),
            sweeps: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            freed_blobs: AtomicU64::new(0),
            freed_bytes: AtomicU64::new(0),
        }))
    }

    /// One whole sweep, after one that is running. It also looks at what is not due yet, to count what is kept and
    /// because settings may have changed since. With `purge` the history keeps nothing; leases always count. Where the disk
    /// fails under it, or is full, it goes on from there a few times: who asks for a sweep wants room.
    pub async fn sweep(&self, purge: bool) -> Result<Report, RepoError> {
        self.sweep_told(purge, Arc::new(|_| {})).await
    }

    /// The same; `hears` is told after each page what came of it so far. To stop it, drop the future: the next sweep goes on.
    pub async fn sweep_told(&self, purge: bool, hears: Hears) -> Result<Report, RepoError> {
        let _turn = self.0.turn.lock().await;
        let mut tried = 1;
        loop {
            let done = self.counted(self.run(true, purge, &hears).await);
            match &done {
                Err(error) if tried < TRIES && is_passing(error) => {
                    tracing::warn!(%error, tried, "this sweep goes on in a moment");
                }
                _ => return done,
            }
            tried += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Drops the rows that a deleted repository left, page by page, between the sweeps. `hears` is told after each page what
    /// came of it so far. To stop it, drop the future: a sweep goes on with them. Answers what came of it; none where some
    /// of them cannot be read now, which the collector looks at again later.
    pub async fn drop_deleted(
        &self,
        deleted: Deleted,
        hears: impl Fn(Tally) + Send,
    ) -> Result<Option<Tally>, RepoError> {
        let mut rows = Tally::default();
        loop {
            let _turn = self.0.turn.lock().await;
            match self.0.repos.removal(deleted).await? {
                Removal::Rows(due) => rows += self.0.repos.reclaim(vec![due], false).await?,
                Removal::Over => return Ok(Some(rows)),
                Removal::Unread => return Ok(None),
            }
            hears(rows);
        }
    }

    /// Sweeps in the set interval until `stop`. What a crash left condemned goes first.
    pub async fn keep_sweeping(&self, stop: CancellationToken) {
        if let Err(error) = self.0.repos.finish_quotas().await {
            tracing::warn!(%error, "a new quota was not counted to its end and refuses nothing until a sweep has done that");
        }
        let interval = self.0.options.interval;
        if interval.is_zero() {
            return;
        }
        // After a start the settings may be others than those that the rows were written under.
        let mut all = true;
        let (mut number, shown) = (0, Arc::clone(&self.0));
        let hears: Hears = Arc::new(move |report| shown.alone.far(*report));
        loop {
            let done = {
                let _turn = self.0.turn.lock().await;
                number += 1;
                self.0.alone.begin(number);
                tokio::select! {
                    done = self.run(all, false, &hears) => Ok(self.counted(done)),
                    () = self.0.skip.notified() => Err(Cut::Skipped),
                    () = stop.cancelled() => Err(Cut::Stopped),
                }
            };
            let rest = match done {
                Err(Cut::Stopped) => return,
                Err(Cut::Skipped) => {
                    self.0.alone.end(Ok(()));
                    tracing::info!("somebody ended this sweep; the next one goes on in its time");
                    interval.max(REST)
                }
                Ok(Ok(report)) => {
                    all = false;
                    self.0.alone.far(report);
                    self.0.alone.end(Ok(()));
                    tell(&report);
                    interval
                }
                Ok(Err(error)) => {
                    self.0.alone.end(Err(error.to_string()));
                    tracing::warn!(%error, "this sweep failed and the next one goes on from there");
                    interval.max(REST)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Whether it sweeps without being asked.
    pub fn sweeps_by_itself(&self) -> bool {
        !self.0.options.interval.is_zero()
    }

    /// The sweep that nobody asked for and that runs, or ran last.
    pub fn alone(&self) -> Option<Alone<Report>> {
        self.0.alone.get()
    }

    /// Ends that sweep if it runs; the next one goes on in its time.
    pub fn skip(&self) {
        self.0.skip.notify_waiters();
    }

    /// The counters as they are now.
    pub fn counters(&self) -> SweepCounters {
        SweepCounters {
            sweeps: self.0.sweeps.load(Ordering::Relaxed),
            failed: self.0.failed.load(Ordering::Relaxed),
            freed_blobs: self.0.freed_blobs.load(Ordering::Relaxed),
            freed_bytes: self.0.freed_bytes.load(Ordering::Relaxed),
        }
    }

    fn counted(&self, done: Result<Report, RepoError>) -> Result<Report, RepoError> {
        match &done {
            Ok(report) => {
                self.0.sweeps.fetch_add(1, Ordering::Relaxed);
                let (blobs, bytes) = (report.rows.freed_blobs, report.rows.freed_bytes);
                self.0.freed_blobs.fetch_add(blobs, Ordering::Relaxed);
                self.0.freed_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(_) => {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        done
    }

    async fn run(&self, all: bool, purge: bool, hears: &Hears) -> Result<Report, RepoError> {
        let begun = Instant::now();
        let mut report = Report::default();
        if all {
            self.look_ahead(purge, &mut report, hears).await?;
        }
        for _ in 0..ROUNDS {
            let before = report.rows.examined;
            self.round(&mut report, hears).await?;
            if report.rows.examined == before {
                break;
            }
        }
        report.files_removed = self.unlink().await?;
        // What a full disk has put off.
        self.0.repos.finish_quotas().await?;
        self.0.repos.trim_histories().await?;
        report.took_ms = begun.elapsed().as_millis() as u64;
        Ok(report)
    }

    /// Every row, whenever it is due.
    async fn look_ahead(
        &self,
        purge: bool,
        report: &mut Report,
        hears: &Hears,
    ) -> Result<(), RepoError> {
        let mut from = Vec::new();
        loop {
            let page = self.0.repos.due(from, true, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            from = last.after();
            report.rows += self.0.repos.reclaim(page, purge).await?;
            hears(report);
        }
    }

    /// Every row whose time has come by now. Those that are planned in several parts are taken up again.
    async fn round(&self, report: &mut Report, hears: &Hears) -> Result<(), RepoError> {
        let mut from = Vec::new();
        loop {
            let page = self.0.repos.due(from, false, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            from = last.after();
            report.rows += self.0.repos.reclaim(page, false).await?;
            hears(report);
        }
    }

    async fn unlink(&self) -> Result<u64, RepoError> {
        let limit = match self.0.options.files_per_second {
            0 => FILES,
            most => FILES.min(most as usize),
        };
        let (mut removed, mut next) = (0, Instant::now());
        let mut pass = self.0.repos.unlink_condemned();
        while pass.has_more() {
            tokio::time::sleep_until(next).await;
            next = Instant::now();
            let count = pass.some(limit).await?;
            removed += count as u64;
            if let Some(rate) = std::num::NonZeroU64::new(self.0.options.files_per_second) {
                next += Duration::from_millis(count as u64 * 1000 / rate);
            }
        }
        // What else there is to sweep does not wait for these.
        pass.tell();
        Ok(removed)
    }
}

/// Whether the store may take the same in a moment: it is being opened again, or found no room.
fn is_passing(error: &RepoError) -> bool {
    match error {
        RepoError::Store(error) => match error.kind() {
            StoreErrorKind::Busy | StoreErrorKind::NoSpace => true,
            StoreErrorKind::Unavailable => !matches!(error, StoreError::Closed),
            _ => false,
        },
        _ => false,
    }
}

/// One line in the log for a sweep that did something.
fn tell(report: &Report) {
    let rows = &report.rows;
    if rows.freed_blobs + rows.manifests_removed + rows.history_dropped + report.files_removed > 0 {
        tracing::info!(
            freed_blobs = rows.freed_blobs,
            freed_bytes = rows.freed_bytes,
            manifests_removed = rows.manifests_removed,
            lists_removed = rows.lists_removed,
            history_dropped = rows.history_dropped,
            files_removed = report.files_removed,
            took_ms = report.took_ms,
            "swept"
        );
    }
}
