//! How far a check is, told a few times a second to whoever asked for it.

use super::pace::Pace;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two pieces of news.
const EVERY: Duration = Duration::from_millis(200);

/// How far a check is; drawn by the command. What an earlier check that was interrupted has done is not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckProgress {
    /// Blobs looked at.
    pub checked_blobs: u64,
    /// Blobs to look at, as of the start.
    pub all_blobs: u64,
    /// Bytes of contents read.
    pub checked_bytes: u64,
    /// Bytes to read, as of the start; 0 where they are not read.
    pub all_bytes: u64,
    /// All blobs are done: rows and files are being looked at.
    pub at_rows: bool,
}

/// The state that news are made of; its clones share it.
#[derive(Clone)]
pub(super) struct Far(Arc<Counts>);

struct Counts {
    pace: Pace,
    blobs: AtomicU64,
    all_blobs: AtomicU64,
    /// Bytes of the blobs that are done.
    bytes: AtomicU64,
    all_bytes: AtomicU64,
    /// What the pace had read when the blob under way was begun.
    before: AtomicU64,
    at_rows: AtomicBool,
}

impl Far {
    /// Nothing is looked at yet.
    pub fn new(pace: Pace) -> Self {
        Self(Arc::new(Counts {
            pace,
            blobs: AtomicU64::new(0),
            all_blobs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            all_bytes: AtomicU64::new(0),
            before: AtomicU64::new(0),
            at_rows: AtomicBool::new(false),
        }))
    }

    /// So many bytes and blobs are to be looked at; `deep`: the bytes, too.
    pub fn begin(&self, (bytes, blobs): (u64, u64), deep: bool) {
        self.0.all_blobs.store(blobs, Ordering::Relaxed);
        let bytes = if deep { bytes } else { 0 };
        self.0.all_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The next blob is under way.
    pub fn at_blob(&self) {
        self.0.before.store(self.0.pace.read(), Ordering::Relaxed);
    }

    /// It is done; it has so many bytes.
    pub fn past_blob(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.blobs.fetch_add(1, Ordering::Relaxed);
        self.at_blob();
    }

    /// From here on rows are compared.
    pub fn at_rows(&self) {
        self.0.at_rows.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> CheckProgress {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let under_way = self.0.pace.read().saturating_sub(read(&self.0.before));
        let all_bytes = read(&self.0.all_bytes);
        CheckProgress {
            checked_blobs: read(&self.0.blobs),
            all_blobs: read(&self.0.all_blobs),
            checked_bytes: (read(&self.0.bytes) + under_way).min(all_bytes),
            all_bytes,
            at_rows: self.0.at_rows.load(Ordering::Relaxed),
        }
    }

    /// Tells of it until the answer is dropped.
    pub fn tell(&self, news: impl Fn(CheckProgress) + Send + Sync + 'static) -> Telling {
        let far = self.clone();
        Telling(tokio::spawn(async move {
            let mut last = CheckProgress::default();
            let mut every = tokio::time::interval(EVERY);
            loop {
                every.tick().await;
                let now = far.now();
                if now != last {
                    news(now);
                    last = now;
                }
            }
        }))
    }
}

/// Ends the news when dropped.
pub(super) struct Telling(JoinHandle<()>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn a_blob_under_way_counts_and_nothing_counts_twice() {
        let pace = Pace::new(0, CancellationToken::new());
        let far = Far::new(pace.clone());
        far.begin((1000, 2), true);
        far.at_blob();
        pace.spend(300);
        assert_eq!((far.now().checked_blobs, far.now().checked_bytes), (0, 300));
        pace.spend(300);
        far.past_blob(600);
        assert_eq!((far.now().checked_blobs, far.now().checked_bytes), (1, 600));
        far.past_blob(400);
        assert_eq!(
            (far.now().checked_blobs, far.now().checked_bytes),
            (2, 1000)
        );
        far.begin((1000, 2), false);
        assert_eq!(far.now().all_bytes, 0);
    }
}
