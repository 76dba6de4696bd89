//! Requests beside those that are late: when one is late, and how many may go out. Knows no wire.

use crate::fetch::error::FetchError;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Of so many answers the times are kept.
const KEPT: usize = 100;
/// With fewer nobody knows what late is.
const ENOUGH: usize = 20;
/// No answer is late before that.
const SOONEST: Duration = Duration::from_millis(50);
/// One second request may go out for so many: 5 %.
const PRICE: u32 = 20;
/// So many may be saved up.
const SAVED: u32 = 5;

/// The times of the last answers, and what may still be asked twice.
#[derive(Default)]
pub(super) struct Hedges(Mutex<Known>);

#[derive(Default)]
struct Known {
    took: VecDeque<Duration>,
    credit: u32,
}

impl Hedges {
    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request goes out that may be followed by another.
    pub(super) fn sent(&self) {
        self.known(|known| known.credit = (known.credit + 1).min(PRICE * SAVED));
    }

    /// The first byte of its answer took so long.
    pub(super) fn answered(&self, took: Duration) {
        self.known(|known| {
            if known.took.len() == KEPT {
                known.took.pop_front();
            }
            known.took.push_back(took);
        });
    }

    /// After which time a request is late: of the last answers 95 % were faster. `None`: too few are known.
    pub(super) fn late_after(&self) -> Option<Duration> {
        let mut took: Vec<_> = self.known(|known| known.took.iter().copied().collect());
        if took.len() < ENOUGH {
            return None;
        }
        let at = (took.len() * 95).div_ceil(100) - 1;
        let (_, late, _) = took.select_nth_unstable(at);
        Some((*late).max(SOONEST))
    }

    /// Whether another request may go out now; it is counted.
    pub(super) fn take(&self) -> bool {
        self.known(|known| match known.credit.checked_sub(PRICE) {
            Some(left) => {
                known.credit = left;
                true
            }
            None => false,
        })
    }
}

/// What one request waits for: since when it has been on the wire, and until when it may be held back.
#[derive(Debug)]
pub struct Trace {
    since: Mutex<Option<Instant>>,
    until: Instant,
}

impl Trace {
    /// Of a request that may be held until then.
    pub(super) fn new(until: Instant) -> Self {
        Self {
            since: Mutex::default(),
            until,
        }
    }

    /// Of a request that begins now and may be held as long as any.
    pub fn now() -> Self {
        Self::new(Instant::now() + super::line::PATIENCE)
    }

    /// Until when it may be held.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// It waits for an answer from now on, until what this gives is dropped.
    pub fn waits(&self, now: Instant) -> Waits<'_> {
        self.set(Some(now));
        Waits(self)
    }

    /// Since when it has waited for an answer, if it does.
    pub(super) fn since(&self) -> Option<Instant> {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// A request waits for its answer while this lives.
pub struct Waits<'a>(&'a Trace);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// What `first` gives, or, once it is `late`, what comes first of it and `second`. A failure of one is that of both only if the
/// other fails, too.
pub async fn race<T, S: Future<Output = Result<T, FetchError>>>(
    first: impl Future<Output = Result<T, FetchError>>,
    late: impl Future<Output = ()>,
    second: impl FnOnce() -> S,
) -> Result<T, FetchError> {
    tokio::pin!(first);
    tokio::select! {
        biased;
        result = &mut first => return result,
        () = late => {}
    }
    let second = second();
    tokio::pin!(second);
    tokio::select! {
        biased;
        result = &mut first => match result {
            Err(_) => second.await,
            done => done,
        },
        result = &mut second => match result {
            Err(_) => first.await,
            done => done,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;
    use tokio::time::sleep;

    #[test]
    fn late_is_what_one_in_twenty_is() {
        let hedges = Hedges::default();
        for n in 1..=19 {
            hedges.answered(Duration::from_millis(n * 10));
            assert_eq!(hedges.late_after(), None);
        }
        hedges.answered(Duration::from_millis(200));
        assert_eq!(hedges.late_after(), Some(Duration::from_millis(190)));
        // Only the last hundred count, and nothing is late at once.
        for _ in 0..100 {
            hedges.answered(Duration::from_millis(1));
        }
        assert_eq!(hedges.late_after(), Some(SOONEST));
    }

    #[test]
    fn one_of_twenty_requests() {
        let hedges = Hedges::default();
        let mut twice = 0;
        for _ in 0..1000 {
            hedges.sent();
            twice += u32::from(hedges.take());
        }
        assert_eq!(twice, 50);
        // A long time without late ones saves few.
        for _ in 0..1000 {
            hedges.sent();
        }
        assert_eq!((0..100).filter(|_| hedges.take()).count(), SAVED as usize);
    }

    async fn after<T>(ms: u64, value: Result<T, FetchError>) -> Result<T, FetchError> {
        sleep(Duration::from_millis(ms)).await;
        value
    }

    fn bad(text: &str) -> FetchError {
        FetchError::Options(text.to_owned())
    }

    #[tokio::test]
    async fn the_first_success_counts() {
        let late = || sleep(Duration::from_millis(50));
        for (first, second, want) in [
            // In time: nothing else is asked.
            (after(10, Ok(1)), after(0, Ok(2)), Ok(1)),
            (after(10, Err(bad("a"))), after(0, Ok(2)), Err("a")),
            // Late, and overtaken or not.
            (after(5000, Ok(1)), after(10, Ok(2)), Ok(2)),
            (after(100, Ok(1)), after(5000, Ok(2)), Ok(1)),
            // One fails.
            (after(100, Err(bad("a"))), after(400, Ok(2)), Ok(2)),
            (after(300, Ok(1)), after(10, Err(bad("b"))), Ok(1)),
            (
                after(100, Err(bad("a"))),
                after(300, Err(bad("b"))),
                Err("b"),
            ),
        ] {
            let got = race(first, late(), || second).await;
            assert_eq!(got.map_err(|e| e.to_string()), want.map_err(str::to_owned));
        }
        let unasked = || -> std::future::Ready<Result<u8, FetchError>> { panic!("not late") };
        assert!(
            race(ready(Ok(1)), std::future::pending(), unasked)
                .await
                .is_ok()
        );
    }
}
