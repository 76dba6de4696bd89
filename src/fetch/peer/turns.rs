//! Whose turn it is: the addresses of an upstream in order, one try each, those that are held back last; and again, once,
//! where all said that they are busy.

use super::Way;
use super::line::PATIENCE;
use crate::fetch::error::{FetchError, FetchErrorKind};
use std::time::Duration;
use tokio::time::Instant;

/// The turns of one request.
pub(super) struct Turns<'a> {
    ways: &'a [Way],
    /// Until when it may be held back.
    pub(super) until: Instant,
    /// Those of this round that were not asked yet, the next one last.
    left: Vec<usize>,
    /// The failure that is told if there is no other.
    last: Option<FetchError>,
    /// The shortest time that a closed address is left alone yet.
    away: Option<Duration>,
}

/// One try at one address. Dropping it gives back a trial that nobody judged.
pub(super) struct Turn<'a> {
    pub(super) way: &'a Way,
    trial: Option<u64>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(trial) = self.trial {
            self.way.line.breaker.leave(trial, Instant::now());
        }
    }
}

impl<'a> Turns<'a> {
    pub(super) fn new(ways: &'a [Way]) -> Self {
        let mut turns = Self {
            ways,
            until: Instant::now() + PATIENCE,
            left: Vec::new(),
            last: None,
            away: None,
        };
        turns.begin();
        turns
    }

    fn begin(&mut self) {
        let now = Instant::now();
        let held = |n: &usize| self.ways[*n].line.quota.held_until(true, now);
        let mut order: Vec<usize> = (0..self.ways.len()).collect();
        // The order of the settings, but for those that are held back.
        order.sort_by_key(held);
        order.reverse();
        self.left = order;
    }

    /// The next try; the error that is the answer if there is none.
    pub(super) fn next(&mut self) -> Result<Turn<'a>, FetchError> {
        loop {
            let now = Instant::now();
            while let Some(n) = self.left.pop() {
                let way = &self.ways[n];
                match way.line.breaker.enter(now) {
                    Ok(trial) => return Ok(Turn { way, trial }),
                    Err(wait) => self.away = Some(self.away.map_or(wait, |least| least.min(wait))),
                }
            }
            let Some(error) = self.last.take() else {
                return Err(self.away());
            };
            if !is_busy(&error) {
                return Err(error);
            }
            let held = self.ways.iter();
            let held = held.filter_map(|way| way.line.quota.held_until(false, now));
            match held.min() {
                // Whoever is let through waits until then.
                Some(free) if free <= self.until => self.begin(),
                Some(free) => return Err(waits(error, free - now)),
                None => return Err(error),
            }
        }
    }

    /// Takes a failure: `Ok` if another address may do better, else the error that is the answer.
    pub(super) fn failed(&mut self, turn: &Turn<'_>, error: FetchError) -> Result<(), FetchError> {
        if !may_pass(&error) {
            if error.kind() != FetchErrorKind::Usage {
                turn.way.line.refused();
            }
            return Err(error);
        }
        // Who is busy says when to come back.
        if !self.last.as_ref().is_some_and(is_busy) {
            self.last = Some(error);
        }
        Ok(())
    }

    fn away(&self) -> FetchError {
        FetchError::Away {
            host: self
                .ways
                .first()
                .map_or_else(String::new, |way| way.line.url.host.clone()),
            retry_after: self.away.unwrap_or_default(),
        }
    }
}

fn is_busy(error: &FetchError) -> bool {
    matches!(error, FetchError::Status { status: 429, .. })
}

/// Whether another address may do better.
pub(super) fn may_pass(error: &FetchError) -> bool {
    match error {
        FetchError::Connect { .. }
        | FetchError::Certificate { .. }
        | FetchError::NoTls { .. }
        | FetchError::Away { .. }
        | FetchError::Wait { .. }
        | FetchError::Body { .. } => true,
        FetchError::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        _ => false,
    }
}

/// The same, with how long to wait for it.
fn waits(error: FetchError, wait: Duration) -> FetchError {
    match error {
        FetchError::Status {
            url,
            status,
            detail,
        } => FetchError::Wait {
            url,
            seconds: wait.as_secs().max(1),
            detail: format!(" ({status}{detail})"),
        },
        other => other,
    }
}
