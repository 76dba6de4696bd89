//! How an upstream fares, for whoever decides by it or shows it.

pub use super::breaker::BreakerState;
use std::time::Duration;
use tokio::time::Instant;

/// How an upstream fares, of all its addresses together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerStanding {
    /// An address answers.
    Up,
    /// None was asked yet.
    Unknown,
    /// The last requests failed, and the next one is made all the same.
    Doubtful,
    /// No address is asked until then: each failed too often.
    Away {
        /// When the first of them may be asked again.
        until: std::time::Instant,
    },
}

/// How one address fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressStanding {
    Up,
    Unknown,
    Doubtful,
    Away(Instant),
}

impl PeerStanding {
    /// Of all addresses together.
    pub(super) fn of(all: &[AddressStanding]) -> Self {
        use AddressStanding::{Away, Doubtful, Unknown, Up};
        if all.contains(&Up) {
            return Self::Up;
        }
        if all.contains(&Doubtful) {
            return Self::Doubtful;
        }
        let until = all.iter().filter_map(|one| match one {
            Away(until) => Some(*until),
            _ => None,
        });
        match until.min() {
            Some(until) if !all.contains(&Unknown) => Self::Away {
                until: until.into_std(),
            },
            // The next address is asked, and nobody knows how it is.
            Some(_) => Self::Doubtful,
            None => Self::Unknown,
        }
    }
}

/// What was counted since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCounters {
    /// By address, in the order of the settings.
    pub addresses: Vec<AddressCounters>,
}

/// What was counted of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressCounters {
    /// `https://HOST/PREFIX`.
    pub address: String,
    /// Requests to it and its token service.
    pub requests: u64,
    /// Bytes of the bodies that came by it, also from where it led to.
    pub bytes: u64,
    /// Requests without an answer, and answers 429 and 5xx.
    pub errors: u64,
    /// Requests that were made beside one that was late.
    pub hedged: u64,
    /// Its circuit breaker.
    pub breaker: BreakerState,
    /// For how long that has been so.
    pub breaker_for: Duration,
    /// The budget of requests that it says it gives (`ratelimit-limit`).
    pub budget: Option<u64>,
    /// What it says is left of it (`ratelimit-remaining`).
    pub budget_left: Option<u64>,
    /// For how long it is asked for no manifest, since it said so.
    pub held_for: Option<Duration>,
    /// How long ago it last answered with something other than 401, 429 and 5xx.
    pub last_success: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_address_counts() {
        use AddressStanding::{Away, Doubtful, Unknown, Up};
        let now = Instant::now();
        let (soon, late) = (Away(now), Away(now + Duration::from_secs(9)));
        let until = now.into_std();
        for (all, want) in [
            (&[Unknown][..], PeerStanding::Unknown),
            (&[Up, late], PeerStanding::Up),
            (&[late, Up], PeerStanding::Up),
            (&[Doubtful, Unknown], PeerStanding::Doubtful),
            (&[late, Unknown], PeerStanding::Doubtful),
            (&[late, Doubtful], PeerStanding::Doubtful),
            (&[late, soon], PeerStanding::Away { until }),
        ] {
            assert_eq!(PeerStanding::of(all), want, "{all:?}");
        }
    }
}
