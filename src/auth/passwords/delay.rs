//! Failed logins are slowed: by account and address together, and by address with a larger allowance.
//!
//! An account alone is never slowed, so that nobody can lock out a user who comes from somewhere else. While an address
//! waits as a whole, an account that never failed there has one try of its own in an hour. Memory is bounded, time is the
//! monotonic clock. Owns counters only; whoever logs in asks before the password is looked at.

use crate::types::net;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most counters kept.
const MOST: usize = 20_000;
/// A try of its own that failed is the last of the account at the address for so long.
const OWN: Duration = Duration::from_hours(1);
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
pub(in crate::auth) enum Wait {
    /// Not at all.
    None,
    /// The address waits, in whole seconds; the account itself has shown nothing wrong there.
    Address(u64),
    /// The account waits at this address, in whole seconds.
    Account(u64),
}

/// The counters of failed logins.
#[derive(Default)]
pub(in crate::auth) struct Delays {
    counts: Mutex<Counts>,
    /// Tries while their address waits. Apart from the others, as any name may be tried there and must push out nothing.
    blind: Mutex<Counts>,
    /// When accounts had a try of their own at an address that waits. Only of accounts that are there.
    own: Mutex<HashMap<Key, Instant>>,
}

type Counts = HashMap<Key, Count>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Delays {
    /// How long `account` has to wait at `from`.
    pub(in crate::auth) fn wait(&self, account: &str, from: IpAddr, now: Instant) -> Wait {
        let key = account_key(account, from);
        let left = |counts: &Counts, key: &Key, allowance| {
            counts.get(key).map_or(0, |c| c.left(allowance, now))
        };
        let blind = left(&lock(&self.blind), &key, ACCOUNT);
        let counts = lock(&self.counts);
        match left(&counts, &key, ACCOUNT).max(blind) {
            0 => match left(&counts, &address_key(from), ADDRESS) {
                0 => Wait::None,
                seconds => Wait::Address(seconds),
            },
            seconds => Wait::Account(seconds),
        }
    }

    /// Counts a wrong password.
    pub(in crate::auth) fn failed(&self, account: &str, from: IpAddr, now: Instant) {
        let mut counts = lock(&self.counts);
        count(&mut counts, account_key(account, from), ACCOUNT, now);
        count(&mut counts, address_key(from), ADDRESS, now);
    }

    /// Counts a try while the address waits, whatever becomes of it. Whether it is the account's first there, and it has
    /// not failed there before. All names are counted alike, whether there is such an account or not.
    pub(in crate::auth) fn tried_in_wait(&self, account: &str, from: IpAddr, now: Instant) -> bool {
        let key = account_key(account, from);
        let known = |counts: &Counts| {
            let count = counts.get(&key);
            count.is_some_and(|c| c.present(ACCOUNT, now) > 0)
        };
        let first = {
            let mut blind = lock(&self.blind);
            let first = !known(&blind);
            count(&mut blind, key.clone(), ACCOUNT, now);
            first
        };
        let mut counts = lock(&self.counts);
        let first = first && !known(&counts);
        if first {
            count(&mut counts, address_key(from), ADDRESS, now);
        }
        first
    }

    /// Takes the try that an account has of its own; false if it had it in the last hour.
    pub(in crate::auth) fn take_own(&self, account: &str, from: IpAddr, now: Instant) -> bool {
        let mut own = lock(&self.own);
        let used = |at: &Instant| now.saturating_duration_since(*at) < OWN;
        let key = account_key(account, from);
        if own.get(&key).is_some_and(used) {
            return false;
        }
        if own.len() >= MOST {
            own.retain(|_, at| used(at));
        }
        let room = own.len() < MOST;
        if room {
            own.insert(key, now);
        }
        room
    }

    /// The try could not be made.
    pub(in crate::auth) fn give_back_own(&self, account: &str, from: IpAddr) {
        lock(&self.own).remove(&account_key(account, from));
    }

    /// Forgets the failures of an account at an address. Those of the address stay: one good account there does not
    /// excuse guesses at others.
    pub(in crate::auth) fn succeeded(&self, account: &str, from: IpAddr) {
        let key = account_key(account, from);
        lock(&self.counts).remove(&key);
        lock(&self.blind).remove(&key);
        lock(&self.own).remove(&key);
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

fn count(counts: &mut Counts, key: Key, allowance: Allowance, now: Instant) {
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
fn make_room(counts: &mut Counts, now: Instant) {
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
    fn in_the_wait_of_an_address_each_account_has_one_try() {
        let delays = Delays::default();
        let (from, mut now) = (ip("192.0.2.1"), Instant::now());
        for n in 0..60 {
            delays.failed(&format!("user{n}"), from, now);
        }
        assert_eq!(delays.wait("ann", from, now), Wait::Address(60));
        assert!(delays.tried_in_wait("ann", from, now) && delays.take_own("ann", from, now));
        for left in [4, 3, 2, 1] {
            assert!(!delays.tried_in_wait("ann", from, now), "{left}");
            assert_eq!(
                delays.wait("ann", from, now),
                if left > 1 {
                    Wait::Address(60)
                } else {
                    Wait::Account(1)
                }
            );
        }
        // Who failed there before has none, and somewhere else nobody waits.
        assert!(!delays.tried_in_wait("user1", from, now));
        assert_eq!(delays.wait("ann", ip("192.0.2.2"), now), Wait::None);
        // Those tries are forgotten after a while; the one of its own is not within the hour.
        now += Duration::from_mins(59);
        assert!(delays.tried_in_wait("ann", from, now) && !delays.take_own("ann", from, now));
        now += Duration::from_mins(1);
        assert!(delays.take_own("ann", from, now));
        delays.give_back_own("ann", from);
        assert!(delays.take_own("ann", from, now));
        delays.succeeded("ann", from);
        assert!(delays.tried_in_wait("ann", from, now) && delays.take_own("ann", from, now));
    }

    #[test]
    fn names_tried_in_a_wait_push_nobody_out() {
        let delays = Delays::default();
        let (from, now) = (ip("192.0.2.1"), Instant::now());
        for n in 0..60 {
            delays.failed(&format!("user{n}"), from, now);
        }
        delays.failed("bob", ip("192.0.2.2"), now);
        for n in 0..30_000_u32 {
            let later = now + Duration::from_millis(u64::from(n) / 10);
            delays.tried_in_wait(&format!("name{n}"), from, later);
        }
        assert!(lock(&delays.blind).len() <= MOST && lock(&delays.counts).len() < 100);
        assert!(lock(&delays.counts).contains_key(&account_key("bob", ip("192.0.2.2"))));
        let later = now + Duration::from_secs(4);
        assert!(matches!(delays.wait("ann", from, later), Wait::Address(_)));
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
        assert!(lock(&delays.counts).len() <= MOST);
    }
}
