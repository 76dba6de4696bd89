//! How fast contents are read: never more than so many bytes a second, and stopped at once when asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A blob weighs at least this much, however few its bytes: opening it has its price.
const LEAST: u64 = 4096;
/// A wait is cut into pieces of this length, so that a stop is heard.
const NAP: Duration = Duration::from_millis(200);

/// A reader's speed; its clones share it.
#[derive(Clone)]
pub(super) struct Pace {
    rate: u64,
    begun: Instant,
    spent: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Pace {
    /// At most `rate` bytes a second; 0 is no limit.
    pub fn new(rate: u64, stop: CancellationToken) -> Self {
        Self {
            rate,
            begun: Instant::now(),
            spent: Arc::new(AtomicU64::new(0)),
            read: Arc::new(AtomicU64::new(0)),
            stop,
        }
    }

    /// After reading `bytes`: waits until that was not too fast; `false` if there is no point in going on. Blocks.
    pub fn spend(&self, bytes: u64) -> bool {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        self.wait(bytes)
    }

    fn wait(&self, bytes: u64) -> bool {
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let Some(millis) = (u128::from(spent) * 1000).checked_div(u128::from(self.rate)) else {
            return !self.stop.is_cancelled();
        };
        let due = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        while !self.stop.is_cancelled() {
            match due.checked_sub(self.begun.elapsed()) {
                None | Some(Duration::ZERO) => return true,
                Some(wait) => std::thread::sleep(wait.min(NAP)),
            }
        }
        false
    }

    /// Whether anybody may have to wait.
    pub fn is_limited(&self) -> bool {
        self.rate > 0
    }

    /// For a blob of few bytes.
    pub fn spend_small(&self, bytes: u64) -> bool {
        self.wait(LEAST.saturating_sub(bytes))
    }

    /// Bytes read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether it is to end as soon as it can.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_and_a_stop_is_heard() {
        let stop = CancellationToken::new();
        let pace = Pace::new(1_000_000, stop.clone());
        let begun = Instant::now();
        for _ in 0..10 {
            assert!(pace.spend(20_000));
        }
        assert!(begun.elapsed() >= Duration::from_millis(190));
        stop.cancel();
        assert!(!pace.spend(1 << 40));
        assert!(Pace::new(0, CancellationToken::new()).spend(u64::MAX));
    }
}
