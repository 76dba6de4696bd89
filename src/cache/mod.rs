//! The bounded memory of small things that are cheap to lose: decisions, tag look-ups, small bodies.
//!
//! Owns moka, and keeps its own counters. Must not do input or output, nor know what it holds; whoever puts something
//! in decides when it stops being true.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an entry costs beside its own bytes: hash table, queues and clocks.
const ENTRY_BYTES: usize = 100;

/// A bounded cache in memory: weight in bytes, and a time to live if wanted. Clones share one content.
///
/// An answer that was worked out before a [`Cache::remove`] or [`Cache::clear`] and is put in after it is kept: who
/// needs better puts a generation number into the key.
pub struct Cache<K, V> {
    entries: moka::sync::Cache<K, V>,
    asked: Arc<Asked>,
}

#[derive(Default)]
struct Asked {
    hits: AtomicU64,
    misses: AtomicU64,
}

// Not derived: a clone shares the content, so neither keys nor values need to be cloned.
impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            asked: Arc::clone(&self.asked),
        }
    }
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// A cache of at most `max_bytes`, whose entries go `ttl` after they were put in (`None`: only when room is needed).
    /// `weigh` gives the bytes of a key and its value; 100 are added for each entry.
    pub fn new(max_bytes: u64, ttl: Option<Duration>, weigh: fn(&K, &V) -> usize) -> Self {
        Self::make(max_bytes, weigh, |builder| match ttl {
            Some(ttl) => builder.time_to_live(ttl),
            None => builder,
        })
    }

    /// The same, whose entries go once nobody has asked for them for `idle`.
    pub fn idle(max_bytes: u64, idle: Duration, weigh: fn(&K, &V) -> usize) -> Self {
        Self::make(max_bytes, weigh, |builder| builder.time_to_idle(idle))
    }

    fn make(
        max_bytes: u64,
        weigh: fn(&K, &V) -> usize,
        life: impl FnOnce(Builder<K, V>) -> Builder<K, V>,
    ) -> Self {
        let builder = moka::sync::Cache::builder()
            .max_capacity(max_bytes)
            .weigher(move |key, value| clamp(weigh(key, value)));
        Self {
            entries: life(builder).build(),
            asked: Arc::default(),
        }
    }

    /// The value of `key`, if it is still there.
    pub fn get(&self, key: &K) -> Option<V> {
        let found = self.entries.get(key);
        let counter = if found.is_some() {
            &self.asked.hits
        } else {
            &self.asked.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Puts `value` in place of whatever `key` meant. One that is heavier than the whole cache is dropped again.
    pub fn insert(&self, key: K, value: V) {
        self.entries.insert(key, value);
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &K) {
        self.entries.invalidate(key);
    }

    /// Forgets everything that is in now; no later [`Cache::get`] gives any of it.
    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    /// What is in, and how often it was asked for. Finishes pending upkeep first, so the sizes are true.
    pub fn counters(&self) -> CacheCounters {
        self.entries.run_pending_tasks();
        CacheCounters {
            entries: self.entries.entry_count(),
            bytes: self.entries.weighted_size(),
            hits: self.asked.hits.load(Ordering::Relaxed),
            misses: self.asked.misses.load(Ordering::Relaxed),
        }
    }
}

type Builder<K, V> = moka::sync::CacheBuilder<K, V, moka::sync::Cache<K, V>>;

/// moka counts in `u32`.
fn clamp(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_add(ENTRY_BYTES)).unwrap_or(u32::MAX)
}

/// The numbers of one cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Entries held now.
    pub entries: u64,
    /// Their bytes, with 100 added for each.
    pub bytes: u64,
    /// Look-ups that found something, since the start.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn cache(max_bytes: u64, ttl: Option<Duration>) -> Cache<u32, Vec<u8>> {
        Cache::new(max_bytes, ttl, |_, value| 4 + value.len())
    }

    #[test]
    fn counts_and_shares() {
        let cache = cache(10_000, None);
        let other = cache.clone();
        cache.insert(1, vec![7; 96]);
        assert_eq!(other.get(&1), Some(vec![7; 96]));
        assert_eq!(other.get(&2), None);
        let expected = CacheCounters {
            entries: 1,
            bytes: 200,
            hits: 1,
            misses: 1,
        };
        assert_eq!(cache.counters(), expected);
        other.remove(&1);
        assert_eq!(cache.get(&1), None);
        cache.insert(3, Vec::new());
        cache.clear();
        assert_eq!(cache.get(&3), None);
        assert_eq!(cache.counters().entries, 0);
    }

    #[test]
    fn stays_within_its_bytes() {
        let cache = cache(10_000, None);
        for key in 0..1000 {
            cache.insert(key, vec![0; 900]);
        }
        assert!(cache.counters().bytes <= 10_000);
        cache.insert(5000, vec![0; 20_000]);
        assert!(cache.counters().bytes <= 10_000);
        assert_eq!(cache.get(&5000), None);
        assert_eq!(clamp(usize::MAX), u32::MAX);
    }

    #[test]
    fn entries_end() {
        let cache = cache(10_000, Some(Duration::from_millis(20)));
        cache.insert(1, Vec::new());
        std::thread::sleep(Duration::from_millis(40));
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    fn entries_in_use_stay() {
        let idle = Duration::from_secs(2);
        let cache: Cache<u32, u32> = Cache::idle(10_000, idle, |_, _| 8);
        let fill = || {
            cache.insert(1, 1);
            cache.insert(2, 2);
            Instant::now()
        };
        let mut begin = fill();
        let mut used = begin;
        while begin.elapsed() < idle + idle / 4 {
            let now = Instant::now();
            let found = cache.get(&1);
            // Where the machine stood still for so long, it was not in use.
            if used.elapsed() >= idle {
                begin = fill();
            } else {
                assert_eq!(found, Some(1));
            }
            used = now;
            std::thread::sleep(idle / 40);
        }
        assert_eq!(cache.get(&2), None);
    }
}
