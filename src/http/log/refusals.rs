//! How many log lines the refused requests of one address may write; those beyond are counted in one that follows.
//!
//! A refusal costs a client nothing, and its line costs the disk: so strangers get a few hundred lines at once and some a
//! second, an address (an IPv6 /64 is one) and all together. What an account does, what was answered, and failed logins
//! are logged whatever else an address does: they are no business of this.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One line of an address in this time.
const EACH: Duration = Duration::from_millis(50);
/// One line of all addresses together.
const ALL: Duration = Duration::from_millis(5);
/// Who was quiet has the lines of this time at once: 200, and 2,000 for all together.
const SAVED: Duration = Duration::from_secs(10);
/// Addresses that are told apart.
const MOST: usize = 4096;

/// The lines of each address.
pub struct Refusals(Mutex<Table>);

struct Table {
    nets: HashMap<IpAddr, Net>,
    all: Rate,
    /// Lines left out of those for whom there was no room above.
    others: u64,
    swept: Instant,
    /// Somebody's lines were left out and not told of yet.
    owes: bool,
}

struct Net {
    rate: Rate,
    seen: Instant,
    left_out: u64,
}

/// When the lines so far will have been earned.
struct Rate(Instant);

impl Rate {
    fn has_room(&self, now: Instant) -> bool {
        self.0 <= now + SAVED
    }

    fn spend(&mut self, each: Duration, now: Instant) {
        self.0 = self.0.max(now) + each;
    }
}

/// What an address still has to be told of: `None` stands for addresses beyond those that are told apart.
type Debt = (Option<IpAddr>, u64);

impl Refusals {
    /// Nobody has written anything yet.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Table {
            nets: HashMap::new(),
            all: Rate(now),
            others: 0,
            swept: now,
            owes: false,
        }))
    }

    /// Whether a refused request of `net` may write its line, and how many of this address were left out before it.
    /// `None`: it is left out, and counted.
    pub fn line(&self, net: IpAddr, now: Instant) -> Option<u64> {
        let mut table = self.lock();
        let table = &mut *table;
        if table.nets.len() >= MOST && !table.nets.contains_key(&net) {
            table.others += 1;
            table.owes = true;
            return None;
        }
        let entry = table.nets.entry(net).or_insert(Net {
            rate: Rate(now),
            seen: now,
            left_out: 0,
        });
        entry.seen = now;
        if entry.rate.has_room(now) && table.all.has_room(now) {
            entry.rate.spend(EACH, now);
            table.all.spend(ALL, now);
            return Some(std::mem::take(&mut entry.left_out));
        }
        entry.left_out += 1;
        table.owes = true;
        None
    }

    /// Tells of lines that were left out where no line follows for a while. Cheap to call often.
    pub fn tell(&self, now: Instant) {
        for debt in self.debts(now, SAVED) {
            tell(debt);
        }
    }

    /// Forgets who was quiet for so long; gives what is to be told of them.
    fn debts(&self, now: Instant, quiet: Duration) -> Vec<Debt> {
        let mut table = self.lock();
        if now.saturating_duration_since(table.swept) < quiet
            || !(table.owes || table.nets.len() >= MOST)
        {
            return Vec::new();
        }
        table.swept = now;
        let mut debts = Vec::new();
        table.nets.retain(|net, entry| {
            let is_quiet = now.saturating_duration_since(entry.seen) >= quiet;
            if is_quiet && entry.left_out > 0 {
                debts.push((Some(*net), entry.left_out));
            }
            !is_quiet
        });
        if table.others > 0 {
            debts.push((None, std::mem::take(&mut table.others)));
        }
        table.owes = table.nets.values().any(|entry| entry.left_out > 0);
        debts
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Refusals {
    fn drop(&mut self) {
        for debt in self.debts(Instant::now(), Duration::ZERO) {
            tell(debt);
        }
    }
}

fn tell((net, left_out): Debt) {
    let address = net.map_or("others".to_owned(), |net| net.to_string());
    tracing::warn!(
        address,
        left_out,
        "lines of refused requests of this address were left out"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn an_address_has_some_at_once_and_some_a_second() {
        let start = Instant::now();
        let refusals = Refusals::new(start);
        let written = |net, now| (0..1000).filter_map(|_| refusals.line(net, now)).count();
        assert_eq!(written(ip(1), start), 201);
        assert_eq!(written(ip(1), start), 0);
        // Another one is not in its way.
        assert_eq!(written(ip(2), start), 201);
        let later = start + Duration::from_secs(1);
        assert_eq!(refusals.line(ip(1), later), Some(1799));
        assert_eq!(written(ip(1), later), 19);
        // Who sends more gets no less than who waits.
        let much_later = later + Duration::from_mins(1);
        assert_eq!(refusals.line(ip(1), much_later), Some(981));
        assert_eq!(refusals.line(ip(1), much_later), Some(0));
    }

    #[test]
    fn all_together_are_bounded_and_none_is_forgotten() {
        let start = Instant::now();
        let refusals = Refusals::new(start);
        let (mut sent, mut written, mut told) = (0_u64, 0_u64, 0_u64);
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            for n in 0..10_000 {
                sent += 1;
                if let Some(left_out) = refusals.line(ip(n), now) {
                    written += 1;
                    told += left_out;
                }
            }
            assert!(refusals.lock().nets.len() <= MOST);
            told += refusals.debts(now, SAVED).iter().map(|d| d.1).sum::<u64>();
        }
        assert!((2000..=2000 + 20 * 200).contains(&written), "{written}");
        let end = start + Duration::from_mins(1);
        told += refusals.debts(end, SAVED).iter().map(|d| d.1).sum::<u64>();
        assert_eq!(written + told, sent);
        assert!(refusals.debts(end + SAVED, SAVED).is_empty());
        assert!(refusals.lock().nets.is_empty());
    }
}
