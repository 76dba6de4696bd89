//! Content files that no row names, and since when: a commit that is under way may still name one.

use std::collections::HashMap;

/// While a server runs, a content file without a row is a stray only after so long (running ms): no commit takes that.
const SETTLED_MS: u64 = 10 * 60 * 1000;
/// Files that are remembered at most.
const REMEMBERED: usize = 100_000;

/// Files without a row, by place, and when each was seen first (running ms).
#[derive(Debug, Default)]
pub(super) struct Strays(HashMap<String, u64>);

impl Strays {
    /// Whether the file, which has no row now, was seen without one long ago.
    pub fn is_settled(&mut self, place: &str, now: u64) -> bool {
        if self.0.len() > REMEMBERED {
            self.0.clear();
        }
        let since = *self.0.entry(place.to_owned()).or_insert(now);
        now.saturating_sub(since) >= SETTLED_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_stray_ten_minutes_after_it_was_seen_first() {
        let mut strays = Strays::default();
        let minutes = |n: u64| 5000 + n * 60 * 1000;
        assert!(!strays.is_settled("a", minutes(0)));
        assert!(!strays.is_settled("b", minutes(4)));
        assert!(!strays.is_settled("a", minutes(10) - 1));
        assert!(strays.is_settled("a", minutes(10)));
        assert!(!strays.is_settled("b", minutes(10)));
        assert!(strays.is_settled("b", minutes(14)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut strays = Strays::default();
        for n in 0..REMEMBERED + 10 {
            strays.is_settled(&n.to_string(), 0);
        }
        assert!(strays.0.len() <= REMEMBERED + 1);
    }
}
