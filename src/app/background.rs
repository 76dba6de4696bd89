//! What a server does by itself while it runs: renews its certificate, gives up uploads, sweeps, reads its blobs again,
//! runs jobs and queues those of schedules.
//!
//! Here is only that it is done and until when; how each of them is done is its own module's.

use super::App;
use crate::store::{Lane, Need, Txn, feed};
use crate::types::wall_ms;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often idle uploads are looked for.
const UPLOAD_CHECK: Duration = Duration::from_mins(1);
/// How often the feed is tended, how long it keeps what it told, and how many rows go at once.
const FEED_CHECK: Duration = Duration::from_hours(1);
const FEED_KEEP: Duration = Duration::from_hours(24 * 30);
const FEED_ROWS: usize = 1000;
/// How often big changes are looked for that nobody goes on with.
const STAGE_CHECK: Duration = Duration::from_mins(1);
/// How often addresses and the certificate's age are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_mins(1);
/// How often the wall clock is looked at, and by how much it must be off to have been set.
const CLOCK_CHECK: Duration = Duration::from_secs(2);
const JUMP: Duration = Duration::from_mins(10);

impl App {
    /// Starts all background work; it ends by `stop`, in good order. A command that opens the data for itself does none.
    pub fn keep(&self, stop: &CancellationToken) -> JoinSet<()> {
        self.checker.set_online();
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_certificate(self.clone(), stop.clone()));
        tasks.spawn(give_up_uploads(self.clone(), stop.clone()));
        let (collector, until) = (self.collector.clone(), stop.clone());
        tasks.spawn(async move { collector.keep_sweeping(until).await });
        let (checker, until) = (self.checker.clone(), stop.clone());
        tasks.spawn(async move { checker.keep_scrubbing(until).await });
        tasks.spawn(super::audited::keep(self.clone(), stop.clone()));
        tasks.spawn(tend_feed(self.clone(), stop.clone()));
        tasks.spawn(tidy_stages(self.clone(), stop.clone()));
        tasks.spawn(self.runner.clone().keep(self.clone(), stop.clone()));
        tasks.spawn(self.runner.clone().keep_time(stop.clone()));
        let (shows, collector) = (self.runner.clone(), self.collector.clone());
        tasks.spawn(shows.show_sweeps(collector, stop.clone()));
        let (shows, checker) = (self.runner.clone(), self.checker.clone());
        tasks.spawn(shows.show_scrub(checker, stop.clone()));
        tasks
    }
}

/// Takes back big changes that nobody goes on with: at the start what a crash left, then what failed under its writer. A job
/// that was cut off has until the second look to go on with its own; then its repositories take changes again.
async fn tidy_stages(app: App, stop: CancellationToken) {
    let mut waits = true;
    loop {
        let done = app.tidy_stages(waits).await;
        let has_failed = done.is_err();
        if let Err(error) = done {
            tracing::warn!(%error, "a big change that was cut off is taken back later, and its repositories take no changes until then");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.repos.stage_left(), if !has_failed => {}
            () = tokio::time::sleep(STAGE_CHECK) => waits = false,
        }
    }
}

/// Forgets what the feed told long ago: at most once an hour, and only where something was told since.
async fn tend_feed(app: App, stop: CancellationToken) {
    let mut fed = app.store.fed();
    loop {
        let tend = |tx: &mut Txn<'_>| feed::tend(tx, FEED_KEEP.as_millis() as u64, FEED_ROWS);
        match app
            .store
            .write(Lane::Background, Need::Keeps, "feed.tend", tend)
            .await
        {
            Ok(FEED_ROWS) => continue,
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "old rows of the feed are gone"),
            Err(error) => tracing::warn!(%error, "old rows of the feed stay for now"),
        }
        fed.mark_unchanged();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FEED_CHECK) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = fed.changed() => if changed.is_err() { return },
        }
    }
}

/// Renews the certificate when it gets old or the machine has another address.
async fn keep_certificate(app: App, stop: CancellationToken) {
    let Some(tls) = app.tls.clone() else { return };
    let mut told = tls.warnings();
    let (mut clock, mut checked) = (WallClock::new(), Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CLOCK_CHECK) => {}
        }
        // A certificate is only as good as the clock.
        if !clock.jumped() && checked.elapsed() < CERTIFICATE_CHECK {
            continue;
        }
        checked = Instant::now();
        let again = tls.clone();
        match tokio::task::spawn_blocking(move || again.refresh()).await {
            Ok(Ok(true)) => tracing::info!(
                names = tls.names().join(", "),
                "the certificate was renewed"
            ),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the certificate cannot be renewed; the old one stays in force");
            }
            _ => {}
        }
        // Said at the start and whenever the words change, which for days left is once a day.
        let now = tls.warnings();
        if now != told {
            for warning in &now {
                tracing::warn!("{warning}");
            }
            told = now;
        }
    }
}

/// Says so if the wall clock was set since the last call, by more than clocks that are corrected move.
struct WallClock {
    wall_ms: u64,
    at: Instant,
}

impl WallClock {
    fn new() -> Self {
        let (wall_ms, at) = (wall_ms(), Instant::now());
        Self { wall_ms, at }
    }

    fn jumped(&mut self) -> bool {
        let before = std::mem::replace(self, Self::new());
        let expected = before.wall_ms + (self.at - before.at).as_millis() as u64;
        let off = self.wall_ms.abs_diff(expected);
        if off < JUMP.as_millis() as u64 {
            return false;
        }
        let sign = if self.wall_ms > expected { "+" } else { "-" };
        tracing::warn!(
            seconds = format!("{sign}{}", off / 1000),
            "this machine's clock was set: tokens given out before may be refused, so clients log in again; leases, uploads and history do not depend on it"
        );
        true
    }
}

/// Gives up uploads that nobody goes on with.
async fn give_up_uploads(app: App, stop: CancellationToken) {
    loop {
        match app.repos.reap_uploads().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "uploads without progress were given up"),
            Err(error) => tracing::warn!(%error, "idle uploads cannot be given up now"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPLOAD_CHECK) => {}
        }
    }
}
