//! The circuit breaker of one address: after failures it is left alone for a while, then one request tries it. Knows no wire.

use crate::fetch::retry::jitter;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So many failures in a row open it.
const FAILURES: u32 = 3;
/// It is open for so long at first; doubles each time that the trial fails.
const FIRST: Duration = Duration::from_secs(5);
/// No longer than that, but for the spread of a tenth.
const LONGEST: Duration = Duration::from_mins(1);
/// Whoever comes while the trial is under way is told to come back after that.
const TRIAL: Duration = Duration::from_secs(1);

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One request, to see how the address fares: it is under way, or the next one will be it.
    HalfOpen,
}

/// The breaker.
pub(super) struct Breaker(Mutex<Inside>);

struct Inside {
    phase: Phase,
    /// In a row.
    failures: u32,
    /// How often it opened without a success between.
    openings: u32,
    /// How many trials there were: the number of the last.
    trials: u64,
    /// When the phase began.
    since: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Closed,
    Open { until: Instant },
    Trial,
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Inside {
            phase: Phase::Closed,
            failures: 0,
            openings: 0,
            trials: 0,
            since: now,
        }))
    }

    fn inside<T>(&self, with: impl FnOnce(&mut Inside) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a request may go: the number of its trial if it is one, which must be given back; else how long to stay away.
    pub(super) fn enter(&self, now: Instant) -> Result<Option<u64>, Duration> {
        self.inside(|inside| match inside.phase {
            Phase::Closed => Ok(None),
            Phase::Open { until } if now < until => Err(until - now),
            Phase::Open { .. } => {
                inside.trials += 1;
                inside.turn(Phase::Trial, now);
                Ok(Some(inside.trials))
            }
            Phase::Trial => Err(TRIAL),
        })
    }

    /// A trial ended that nobody judged: the next request is one.
    pub(super) fn leave(&self, trial: u64, now: Instant) {
        self.inside(|inside| {
            if inside.phase == Phase::Trial && inside.trials == trial {
                inside.turn(Phase::Open { until: now }, now);
            }
        });
    }

    /// The address answered.
    pub(super) fn succeeded(&self, now: Instant) {
        self.inside(|inside| {
            (inside.failures, inside.openings) = (0, 0);
            if inside.phase != Phase::Closed {
                inside.turn(Phase::Closed, now);
            }
        });
    }

    /// It did not; `is_silent`: not even with a refusal, which is too slow to be tried again.
    pub(super) fn failed(&self, is_silent: bool, now: Instant) {
        self.inside(|inside| {
            inside.failures = inside.failures.saturating_add(1);
            let opens = match inside.phase {
                Phase::Closed => is_silent || inside.failures >= FAILURES,
                Phase::Trial => true,
                // Of a request that went before it opened.
                Phase::Open { .. } => false,
            };
            if opens {
                let step = FIRST.saturating_mul(1 << inside.openings.min(8));
                let step = step.min(LONGEST).mul_f64(0.9 + 0.2 * jitter());
                inside.openings += 1;
                inside.turn(Phase::Open { until: now + step }, now);
            }
        });
    }

    /// Its state, and since when.
    pub(super) fn state(&self, now: Instant) -> (BreakerState, Instant) {
        self.inside(|inside| match inside.phase {
            Phase::Closed => (BreakerState::Closed, inside.since),
            Phase::Open { until } if now < until => (BreakerState::Open, inside.since),
            Phase::Open { until } => (BreakerState::HalfOpen, until),
            Phase::Trial => (BreakerState::HalfOpen, inside.since),
        })
    }

    /// Until when nothing passes; `None`: something does.
    pub(super) fn away_until(&self, now: Instant) -> Option<Instant> {
        self.inside(|inside| match inside.phase {
            Phase::Open { until } => Some(until).filter(|until| now < *until),
            Phase::Trial => Some(now + TRIAL),
            Phase::Closed => None,
        })
    }

    /// Whether it failed since its last success.
    pub(super) fn is_doubtful(&self) -> bool {
        self.inside(|inside| inside.failures > 0)
    }
}

impl Inside {
    fn turn(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_for(breaker: &Breaker, now: Instant) -> f64 {
        breaker.enter(now).expect_err("open").as_secs_f64()
    }

    #[test]
    fn three_failures_or_one_silence_open_it() {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        breaker.failed(false, now);
        breaker.failed(false, now);
        assert!(breaker.is_doubtful());
        breaker.succeeded(now);
        assert!(!breaker.is_doubtful());
        for _ in 0..2 {
            breaker.failed(false, now);
            assert_eq!(breaker.enter(now), Ok(None));
        }
        breaker.failed(false, now);
        assert!((4.5..=5.5).contains(&open_for(&breaker, now)));
        assert_eq!(breaker.state(now).0, BreakerState::Open);
        let breaker = Breaker::new(now);
        breaker.failed(true, now);
        assert!((4.5..=5.5).contains(&open_for(&breaker, now)));
        // What comes late of the time before changes nothing.
        breaker.failed(true, now);
        assert!(open_for(&breaker, now) <= 5.5);
    }

    #[test]
    fn one_trial_closes_it_or_doubles_the_wait() {
        let mut now = Instant::now();
        let breaker = Breaker::new(now);
        breaker.failed(true, now);
        for step in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
            let wait = open_for(&breaker, now);
            assert!((step * 0.9..=step * 1.1).contains(&wait), "{step}: {wait}");
            now += Duration::from_secs_f64(wait + 0.001);
            assert_eq!(breaker.state(now).0, BreakerState::HalfOpen);
            assert!(breaker.enter(now).expect("trial").is_some());
            // The others are refused at once meanwhile.
            assert_eq!(breaker.enter(now), Err(TRIAL));
            breaker.failed(false, now);
        }
        now += Duration::from_secs(67);
        assert!(breaker.enter(now).expect("trial").is_some());
        breaker.succeeded(now);
        assert_eq!(breaker.enter(now), Ok(None));
        // And the waits are short again.
        breaker.failed(true, now);
        assert!(open_for(&breaker, now) <= 5.5);
    }

    #[test]
    fn a_trial_that_nobody_judged_is_made_again() {
        let mut now = Instant::now();
        let breaker = Breaker::new(now);
        breaker.failed(true, now);
        now += Duration::from_secs(6);
        let first = breaker.enter(now).expect("may").expect("trial");
        breaker.leave(first, now);
        let second = breaker.enter(now).expect("may").expect("trial");
        // The first has no say any more.
        breaker.leave(first, now);
        assert_eq!(breaker.enter(now), Err(TRIAL));
        breaker.leave(second, now);
        assert!(breaker.enter(now).expect("may").is_some());
    }
}
