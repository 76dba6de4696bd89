//! By quota: who gives up its history, and what the last one found: where its oldest stands, or that none of it can go.
//!
//! That nothing can go is believed until something below the prefix changes, and for some seconds at most: due rows whose
//! time comes tell nobody. So a client that pushes on at a history that is too full has it searched once, not each time.
//! In memory alone; knows no rows.

use super::prefixes;
use crate::repo::state::lock;
use crate::types::RepoName;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long it is believed that nothing can go.
const BELIEVED: Duration = Duration::from_secs(5);

/// The quotas whose history was too full.
#[derive(Default)]
pub(in crate::repo) struct Turns(Mutex<HashMap<String, Arc<QuotaTurn>>>);

impl Turns {
    pub(super) fn of(&self, prefix: &str) -> Arc<QuotaTurn> {
        Arc::clone(lock(&self.0).entry(prefix.to_owned()).or_default())
    }

    /// The times of some history have changed, or may have: whoever looks next begins at the start.
    pub fn forget(&self) {
        lock(&self.0).clear();
    }

    /// A change of this repository that readers see was committed: some history may be new. Before the change's answer.
    pub fn changed(&self, name: &RepoName) {
        let turns = lock(&self.0);
        if turns.is_empty() {
            return;
        }
        for turn in prefixes(name.as_str()).filter_map(|prefix| turns.get(prefix)) {
            turn.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// One quota.
#[derive(Default)]
pub(super) struct QuotaTurn {
    changes: AtomicU64,
    /// Held by the one who gives up history.
    pub seen: tokio::sync::Mutex<Seen>,
}

impl QuotaTurn {
    /// A number that every change below the prefix raises; to be asked before the store is.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

/// What was found of a quota's history.
#[derive(Default)]
pub(super) struct Seen {
    /// The key in `due` that its oldest history has, or will be found behind; empty if it may stand anywhere.
    pub from: Vec<u8>,
    stuck: Option<Stuck>,
}

/// None of the history could go.
struct Stuck {
    changes: u64,
    at: Instant,
    by: Vec<(String, u64)>,
}

impl Seen {
    /// Nothing can go, as of what this number of changes ([`QuotaTurn::changes`]) had made; who keeps most of it (bytes).
    pub fn is_stuck(&mut self, changes: u64, by: Vec<(String, u64)>) {
        let at = Instant::now();
        self.stuck = Some(Stuck { changes, at, by });
    }

    /// Who keeps most, if it is known that nothing can go after this number of changes.
    pub fn stuck(&self, changes: u64) -> Option<&[(String, u64)]> {
        let stuck = self.stuck.as_ref()?;
        let holds = stuck.changes == changes && stuck.at.elapsed() < BELIEVED;
        holds.then_some(&stuck.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_go_is_known_until_something_changes_below_the_prefix() {
        let turns = Turns::default();
        let changed = |name: &str| turns.changed(&name.parse().expect("a name"));
        changed("a/b");
        let turn = turns.of("a");
        let before = turn.changes();
        let mut seen = turn.seen.lock().await;
        assert!(seen.stuck(before).is_none());
        seen.is_stuck(before, Vec::new());
        changed("ab/c");
        assert!(seen.stuck(turn.changes()).is_some());
        for name in ["a", "a/b", "a/b/c"] {
            let before = turn.changes();
            seen.is_stuck(before, Vec::new());
            changed(name);
            assert!(seen.stuck(turn.changes()).is_none(), "{name}");
            // Seen before the change, told after.
            seen.is_stuck(before, Vec::new());
            assert!(seen.stuck(turn.changes()).is_none(), "{name}");
        }
        turns.forget();
        assert!(!Arc::ptr_eq(&turn, &turns.of("a")));
    }
}
