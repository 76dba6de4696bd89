//! Failed logins are slowed: by account and address together, and by address with a larger allowance.
//!
//! An account alone is never slowed, so that nobody can lock out a user who comes from somewhere else. Memory is
//! bounded, time is the monotonic clock. Owns counters only; whoever logs in asks before the password is looked at.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most counters kept.
const MOST: usize = 20_000;
/// The longest wait.
const CAP: Duration = Duration::from_mins(1);

/// Failures that cost nothing, and how long it takes to forget one.
#[derive(Clone, Copy)]
struct Allowance {
    free: u32,
    forget: Duration,
}

const ACCOUNT: Allowance = Allowance {
    free: 5,
    forget: Duration::from_mins(2),
};
const ADDRESS: Allowance = Allowance {
    free: 50,
    forget: Duration::from_secs(10),
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// `None`: the address as a whole.
    account: Option<Box<str>>,
    address: IpAddr,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    last: Instant,
}

/// How long a login has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not at all.
    None,
    /// The address waits, in whole seconds; the account itself has shown nothing wrong there.
    Address(u64),
    /// The account waits at this address, in whole seconds.
    Account(u64),
}

/// The counters of failed logins.
#[derive(Default)]
pub(super) struct Delays(Mutex<HashMap<Key, Count>>);

impl Delays {
    /// How long `account` has to wait at `from`.
    pub(super) fn wait(&self, account: &str, from: IpAddr, now: Instant) -> Wait {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |key: &Key, allowance| counts.get(key).map_or(0, |c| c.left(allowance, now));
        match left(&account_key(account, from), ACCOUNT) {
            0 => match left(&address_key(from), ADDRESS) {
                0 => Wait::None,
                seconds => Wait::Address(seconds),
            },
            seconds => Wait::Account(seconds),
        }
    }

    /// Counts a wrong password.
    pub(super) fn failed(&self, account: &str, from: IpAddr, now: Instant) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut counts, account_key(account, from), ACCOUNT, now);
        count(&mut counts, address_key(from), ADDRESS, now);
    }

    /// Forgets the failures of an account at an address. Those of the address stay: one good account there does not
    /// excuse guesses at others.
    pub(super) fn succeeded(&self, account: &str, from: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&account_key(account, from));
    }
}

impl Count {
    /// Failures not yet forgotten.
    fn present(&self, allowance: Allowance, now: Instant) -> u32 {
        let quiet = now.saturating_duration_since(self.last).as_secs();
        let forgotten = u32::try_from(quiet / allowance.forget.as_secs()).unwrap_or(u32::MAX);
        self.failures.saturating_sub(forgotten)
    }

    /// Seconds left to wait, rounded up.
    fn left(&self, allowance: Allowance, now: Instant) -> u64 {
        let Some(over) = self.failures.checked_sub(allowance.free) else {
            return 0;
        };
        let wait = Duration::from_secs(1 << over.min(6)).min(CAP);
        let left = wait.saturating_sub(now.saturating_duration_since(self.last));
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }
}

fn count(counts: &mut HashMap<Key, Count>, key: Key, allowance: Allowance, now: Instant) {
    if counts.len() >= MOST && !counts.contains_key(&key) {
        make_room(counts, now);
    }
    let entry = counts.entry(key).or_insert(Count {
        failures: 0,
        last: now,
    });
    // Beyond the cap more failures change nothing, and must not take hours to forget.
    let most = allowance.free + 6;
    entry.failures = (entry.present(allowance, now) + 1).min(most);
    entry.last = now;
}

/// Drops what is forgotten; if that is little, also the quieter half.
fn make_room(counts: &mut HashMap<Key, Count>, now: Instant) {
    let allowance = |key: &Key| {
        if key.account.is_some() {
            ACCOUNT
        } else {
            ADDRESS
        }
    };
    counts.retain(|key, count| count.present(allowance(key), now) > 0);
    if counts.len() > MOST / 2 {
        let mut times: Vec<Instant> = counts.values().map(|c| c.last).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        counts.retain(|_, count| count.last > median);
    }
}

fn account_key(account: &str, from: IpAddr) -> Key {
    Key {
        account: Some(account.chars().take(64).collect()),
        address: net(from),
    }
}

fn address_key(from: IpAddr) -> Key {
    Key {
        account: None,
        address: net(from),
    }
}

/// IPv4 as it is, IPv6 by its /64: one machine has all of that.
pub fn net(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & (u128::MAX << 64);
            // Loopback is no /64 of anybody's.
            IpAddr::V6(if v6.is_loopback() {
                v6
            } else {
                Ipv6Addr::from(bits)
            })
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn doubles_to_a_minute_and_forgets() {
        let delays = Delays::default();
        let from = ip("192.0.2.1");
        let mut now = Instant::now();
        for _ in 0..4 {
            delays.failed("ann", from, now);
            assert_eq!(delays.wait("ann", from, now), Wait::None);
        }
        for want in [1, 2, 4, 8, 16, 32, 60, 60] {
            delays.failed("ann", from, now);
            assert_eq!(delays.wait("ann", from, now), Wait::Account(want));
            assert_eq!(delays.wait("bob", from, now), Wait::None);
            assert_eq!(delays.wait("ann", ip("192.0.2.2"), now), Wait::None);
            now += Duration::from_secs(want);
            assert_eq!(delays.wait("ann", from, now), Wait::None);
        }
        now += Duration::from_hours(1);
        delays.failed("ann", from, now);
        assert_eq!(delays.wait("ann", from, now), Wait::None);
    }

    #[test]
    fn a_right_password_clears_the_account_only() {
        let delays = Delays::default();
        let (from, now) = (ip("192.0.2.1"), Instant::now());
        for n in 0..50 {
            delays.failed(&format!("user{n}"), from, now);
        }
        for _ in 0..6 {
            delays.failed("ann", from, now);
        }
        assert!(matches!(delays.wait("ann", from, now), Wait::Account(_)));
        delays.succeeded("ann", from);
        assert!(matches!(delays.wait("ann", from, now), Wait::Address(_)));
        assert_eq!(delays.wait("ann", ip("192.0.2.9"), now), Wait::None);
    }

    #[test]
    fn addresses_are_grouped() {
        assert_eq!(net(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_eq!(net(ip("2001:db8::1:2:3")), net(ip("2001:db8::9")));
        assert_ne!(net(ip("2001:db8:0:1::1")), net(ip("2001:db8:0:2::1")));
    }

    #[test]
    fn memory_is_bounded() {
        let delays = Delays::default();
        let start = Instant::now();
        for n in 0..60_000_u32 {
            let from = IpAddr::from(n.to_be_bytes());
            delays.failed("ann", from, start + Duration::from_millis(u64::from(n)));
        }
        assert!(delays.0.lock().expect("lock").len() <= MOST);
    }
}
