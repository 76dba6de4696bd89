//! How often each account and address pulled each content, minute by minute.
//!
//! Owns the counts in memory, and which row of the trail has which of them: one row a minute, written again while it grows.
//! Must not write anything.

use super::allowance::Allowance;
use crate::audit::record::{AuditOutcome, AuditRecord, Position};
use crate::types::{Digest, RepoName, wall_ms};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The counts are divided, so that requests seldom wait for each other.
const PARTS: usize = 16;
/// Contents of accounts and addresses that one part tells apart.
const MOST: usize = 4_000;
/// Rows that pulls without an account may add in one part, at once and in a second from then on (5,000 and two in all): the
/// trail must not be filled by who has no account.
const STRANGERS: f64 = 312.0;
const STRANGERS_A_SECOND: f64 = 0.125;
const MINUTE: u64 = 60_000;

/// What was pulled by whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pull {
    /// `pull`, or `blob.push` for content that was brought.
    pub action: &'static str,
    /// The account's name; empty for anybody.
    pub account: String,
    /// The client's address.
    pub address: IpAddr,
    /// The repository, by the name that was asked for.
    pub repo: RepoName,
    /// The content.
    pub digest: Digest,
}

/// The count of one minute.
#[derive(Debug, Clone, Copy)]
struct Count {
    minute: u64,
    at_ms: u64,
    pulls: u64,
    /// How many of them rows have.
    written: u64,
    /// The row that has the last of them, and how many are in rows before it.
    row: Option<Position>,
    before: u64,
}

struct Part {
    counts: HashMap<Pull, Count>,
    /// Rows that pulls without an account may add.
    strangers: Allowance,
    /// Counts of minutes that are over and not all written.
    over: Vec<(Pull, Count)>,
    /// Pulls beyond those that are told apart.
    others: u64,
}

impl Part {
    fn new() -> Self {
        Self {
            counts: HashMap::new(),
            strangers: Allowance::new(STRANGERS, STRANGERS_A_SECOND),
            over: Vec::new(),
            others: 0,
        }
    }

    fn has_room_for(&mut self, pull: &Pull) -> bool {
        if self.counts.len() + self.over.len() >= MOST {
            return false;
        }
        !pull.account.is_empty() || self.strangers.take()
    }
}

/// All counts.
pub(in crate::audit) struct Pulls {
    parts: [Mutex<Part>; PARTS],
    hash: RandomState,
}

/// A count that has grown, and the row that is to say so.
#[derive(Clone)]
pub(in crate::audit) struct Grown {
    part: usize,
    pull: Option<Pull>,
    count: Count,
}

impl Pulls {
    pub fn new() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::new(Part::new())),
            hash: RandomState::new(),
        }
    }

    /// Counts one.
    pub fn note(&self, pull: Pull) {
        self.note_at(pull, wall_ms());
    }

    fn note_at(&self, pull: Pull, at_ms: u64) {
        let minute = at_ms / MINUTE;
        let fresh = Count {
            minute,
            at_ms,
            pulls: 1,
            written: 0,
            row: None,
            before: 0,
        };
        let hash = self.hash.hash_one((pull.digest, pull.address));
        let mut part = lock(&self.parts[(hash % PARTS as u64) as usize]);
        let part = &mut *part;
        if let Some(count) = part.counts.get_mut(&pull) {
            if count.minute == minute {
                count.pulls += 1;
                return;
            }
            let before = std::mem::replace(count, fresh);
            let rest = before.pulls - before.written;
            if rest > 0 && part.over.len() < MOST {
                part.over.push((pull, before));
            } else {
                part.others += rest;
            }
        } else if part.has_room_for(&pull) {
            part.counts.insert(pull, fresh);
        } else {
            part.others += 1;
        }
    }

    /// Counts that have grown since they were written, `limit` at most. What is over and written is forgotten.
    pub fn grown(&self, limit: usize) -> Vec<Grown> {
        let minute = wall_ms() / MINUTE;
        let mut all = Vec::new();
        for (n, part) in self.parts.iter().enumerate() {
            let mut part = lock(part);
            part.counts
                .retain(|_, count| count.minute == minute || count.pulls > count.written);
            let grown = part.counts.iter().map(|(pull, count)| (pull, *count));
            let over = part.over.iter().map(|(pull, count)| (pull, *count));
            for (pull, count) in over.chain(grown) {
                if all.len() < limit && count.pulls > count.written {
                    let pull = Some(pull.clone());
                    all.push(Grown {
                        part: n,
                        pull,
                        count,
                    });
                }
            }
            if part.others > 0 && all.len() < limit {
                let count = Count {
                    minute,
                    at_ms: wall_ms(),
                    pulls: part.others,
                    written: 0,
                    row: None,
                    before: 0,
                };
                all.push(Grown {
                    part: n,
                    pull: None,
                    count,
                });
            }
        }
        all
    }

    /// Notes that a row says so now.
    pub fn written(&self, grown: Grown, row: Position) {
        let mut part = lock(&self.parts[grown.part]);
        let part = &mut *part;
        let Some(pull) = grown.pull else {
            part.others = part.others.saturating_sub(grown.count.pulls);
            return;
        };
        let minute = grown.count.minute;
        let is_it = |(other, count): &&mut (Pull, Count)| *other == pull && count.minute == minute;
        let over = part.over.iter_mut().find(is_it).map(|(_, count)| count);
        let now = part.counts.get_mut(&pull).filter(|c| c.minute == minute);
        if let Some(count) = over.or(now) {
            (count.written, count.row) = (grown.count.pulls, Some(row));
            count.before = grown.count.before;
        }
        part.over.retain(|(_, count)| count.pulls > count.written);
    }
}

impl Grown {
    /// Where the row stands that was written before.
    pub fn row(&self) -> Option<Position> {
        self.count.row
    }

    /// The account, if one pulled.
    pub fn account(&self) -> Option<&str> {
        let account = self.pull.as_ref().map(|pull| pull.account.as_str());
        account.filter(|account| !account.is_empty())
    }

    /// The row.
    pub fn record(&self) -> AuditRecord {
        let (action, account, address, resource) = match &self.pull {
            Some(pull) => (
                pull.action,
                pull.account.clone(),
                pull.address.to_string(),
                format!("{}@{}", pull.repo, pull.digest),
            ),
            None => ("pull", String::new(), String::new(), "(others)".to_owned()),
        };
        AuditRecord {
            at_ms: self.count.at_ms,
            account_id: 0,
            account,
            roles: Vec::new(),
            action: action.into(),
            resource,
            outcome: AuditOutcome::Success,
            address,
            agent: String::new(),
            request: String::new(),
            input: String::new(),
            status: 0,
            error: String::new(),
            ms: 0,
            count: self.count.pulls - self.count.before,
        }
    }

    /// The row of before takes no more: the pulls since are another one.
    pub fn begin_anew(&mut self) {
        self.count.before = self.count.written;
        self.count.row = None;
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    fn pull(n: u64) -> Pull {
        Pull {
            action: "pull",
            account: "ann".into(),
            address: IpAddr::from([192, 0, 2, 1]),
            repo: "team/app".parse().expect("name"),
            digest: Digest::of(Algorithm::Sha256, &n.to_be_bytes()),
        }
    }

    const AT: Position = Position { ms: 1, number: 0 };

    #[test]
    fn a_minute_is_one_row_that_grows() {
        let (pulls, now) = (Pulls::new(), wall_ms() / MINUTE * MINUTE);
        (0..3).for_each(|_| pulls.note_at(pull(1), now));
        let mut grown = pulls.grown(100);
        assert_eq!(grown.len(), 1);
        let first = grown.remove(0);
        assert_eq!((first.record().count, first.row()), (3, None));
        pulls.note_at(pull(1), now);
        pulls.written(first, AT);
        let mut grown = pulls.grown(100);
        let second = grown.remove(0);
        assert_eq!((second.record().count, second.row()), (4, Some(AT)));
        // The next minute begins before that is written.
        pulls.note_at(pull(1), now + MINUTE);
        pulls.written(second, AT);
        let grown = pulls.grown(100);
        let counts: Vec<_> = grown.iter().map(|g| (g.record().count, g.row())).collect();
        assert_eq!(counts, [(1, None)]);
    }

    #[test]
    fn many_are_bounded_and_all_are_counted() {
        let (pulls, now) = (Pulls::new(), wall_ms());
        let sent = (PARTS * MOST) as u64 * 2;
        (0..sent).for_each(|n| pulls.note_at(pull(n), now));
        let mut counted = 0;
        loop {
            let grown = pulls.grown(1000);
            if grown.is_empty() {
                break;
            }
            for one in grown {
                counted += one.record().count;
                pulls.written(one, AT);
            }
        }
        assert_eq!(counted, sent);
    }
}
