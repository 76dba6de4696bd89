//! By quota: who gives up its history, and what the last one found: where its oldest stands, or that none of it can go.
//!
//! That nothing can go is believed until something below the prefix changes, and for some seconds at most: due rows whose
//! time comes tell nobody. So a client that pushes on at a history that is too full has it searched once, not each time.
//! In memory alone; knows no rows.

use crate::repo::state::lock;
use crate::store::epochs::Epoch;
use std::collections::HashMap;
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

    /// Whoever looks next begins at the start.
    pub fn forget(&self) {
        lock(&self.0).clear();
    }
}

/// One quota.
#[derive(Default)]
pub(super) struct QuotaTurn {
    /// Held by the one who gives up history.
    pub seen: tokio::sync::Mutex<Seen>,
}

/// What was found of a quota's history.
#[derive(Default)]
pub(super) struct Seen {
    /// The key in `due` that its oldest history has, or will be found behind; empty if it may stand anywhere.
    pub from: Vec<u8>,
    stuck: Option<Stuck>,
    settings: Option<Epoch>,
}

/// None of the history could go.
struct Stuck {
    changes: Epoch,
    at: Instant,
    by: Vec<(String, u64)>,
}

impl Seen {
    /// Somebody looks on in this epoch of the settings; in another one the times of some history may have changed.
    pub fn as_of(&mut self, settings: Epoch) {
        if self.settings.replace(settings) != Some(settings) {
            self.from.clear();
            self.stuck = None;
        }
    }

    /// Nothing can go, as of this epoch of what is below the prefix; who keeps most of it (bytes).
    pub fn is_stuck(&mut self, changes: Epoch, by: Vec<(String, u64)>) {
        let at = Instant::now();
        self.stuck = Some(Stuck { changes, at, by });
    }

    /// Who keeps most, if it is known that nothing can go in this epoch.
    pub fn stuck(&self, changes: Epoch) -> Option<&[(String, u64)]> {
        let stuck = self.stuck.as_ref()?;
        let holds = stuck.changes == changes && stuck.at.elapsed() < BELIEVED;
        holds.then_some(&stuck.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::epochs::{Epochs, Subject};

    #[test]
    fn what_cannot_go_is_known_until_something_changes() {
        let epochs = Epochs::default();
        let below = || epochs.now(Subject::Below("a"));
        let mut seen = Seen::default();
        seen.as_of(epochs.now(Subject::Settings));
        let before = below();
        assert!(seen.stuck(before).is_none());
        seen.is_stuck(before, Vec::new());
        seen.from = vec![1];
        seen.as_of(epochs.now(Subject::Settings));
        assert!(seen.stuck(below()).is_some());
        epochs.end(Subject::Below("a"));
        assert!(seen.stuck(below()).is_none());
        // Seen before the change, told after.
        seen.is_stuck(before, Vec::new());
        assert!(seen.stuck(below()).is_none());
        assert_eq!(seen.from, [1], "what is new is not older");
        seen.is_stuck(below(), Vec::new());
        epochs.end(Subject::Settings);
        seen.as_of(epochs.now(Subject::Settings));
        assert!(seen.stuck(below()).is_none() && seen.from.is_empty());
    }
}
