//! Bytes of unfinished uploads, by prefix: received, announced, or left in a file by a process before this one.
//!
//! In memory alone, for every upload, whether there is a quota or not: one that is set later counts them as well. What may
//! be added is decided in [`super::room`], one at a time; here is only the arithmetic.

use super::prefixes;
use crate::repo::state::lock;
use crate::types::UploadId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The bytes of all unfinished uploads.
#[derive(Default)]
pub(in crate::repo) struct Uploads {
    all: Mutex<All>,
    turn: tokio::sync::Mutex<()>,
    fewer: Notify,
}

#[derive(Default)]
struct All {
    one: HashMap<UploadId, One>,
    sums: HashMap<Box<str>, Sum>,
}

/// One upload.
struct One {
    name: Box<str>,
    bytes: u64,
    /// It is about to become a blob: its bytes may be among those shown by now.
    ending: bool,
    /// Prefixes that show its digest and had no room for its bytes while they come.
    spared: Vec<Box<str>>,
}

/// Bytes below a prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Those that count.
    pub bytes: u64,
    /// Of these, those of uploads that are about to become blobs.
    pub ending: u64,
    /// Beside them, those of what the prefix shows already.
    pub spared: u64,
}

impl All {
    /// Adds an upload to the sums, or takes it out of them.
    fn sum(&mut self, one: &One, add: bool) {
        let change = |sum: &mut u64, by: u64| {
            *sum = if add {
                *sum + by
            } else {
                sum.saturating_sub(by)
            };
        };
        for prefix in prefixes(&one.name) {
            // Asked for first, because a new key costs memory.
            if !self.sums.contains_key(prefix) {
                self.sums.insert(prefix.into(), Sum::default());
            }
            let Some(sum) = self.sums.get_mut(prefix) else {
                continue;
            };
            if one.spared.iter().any(|spared| **spared == *prefix) {
                change(&mut sum.spared, one.bytes);
            } else {
                change(&mut sum.bytes, one.bytes);
                if one.ending {
                    change(&mut sum.ending, one.bytes);
                }
            }
            if *sum == Sum::default() {
                self.sums.remove(prefix);
            }
        }
    }

    /// Changes an upload, if it is there; answers whether its bytes became fewer.
    fn with(&mut self, id: UploadId, change: impl FnOnce(&mut One)) -> bool {
        let Some(mut one) = self.one.remove(&id) else {
            return false;
        };
        self.sum(&one, false);
        let before = one.bytes;
        change(&mut one);
        let fewer = one.bytes < before;
        self.sum(&one, true);
        self.one.insert(id, one);
        fewer
    }

    /// Whether the upload has so many bytes at least.
    fn has(&self, id: UploadId, bytes: u64) -> bool {
        self.one.get(&id).is_some_and(|one| one.bytes >= bytes)
    }
}

impl Uploads {
    fn all(&self) -> MutexGuard<'_, All> {
        lock(&self.all)
    }

    /// The upload has, or is to have, so many bytes in all, if it had fewer.
    pub fn raise(&self, id: UploadId, name: &str, bytes: u64) {
        self.add(id, name, bytes, Vec::new());
    }

    /// As [`Uploads::raise`], for prefixes that have no room for the bytes and need none.
    pub(super) fn add(&self, id: UploadId, name: &str, bytes: u64, spared: Vec<Box<str>>) {
        let mut all = self.all();
        if spared.is_empty() && all.has(id, bytes) {
            return;
        }
        all.one.entry(id).or_insert_with(|| One {
            name: name.into(),
            bytes: 0,
            ending: false,
            spared: Vec::new(),
        });
        all.with(id, |one| {
            one.bytes = one.bytes.max(bytes);
            for prefix in spared {
                if !one.spared.contains(&prefix) {
                    one.spared.push(prefix);
                }
            }
        });
    }

    /// The upload has exactly so many bytes: what was announced beyond does not come.
    pub fn settle(&self, id: UploadId, bytes: u64) {
        let mut all = self.all();
        let is_so = |one: &One| one.bytes == bytes && !one.ending;
        if all.one.get(&id).is_none_or(is_so) {
            return;
        }
        let fewer = all.with(id, |one| {
            one.bytes = bytes;
            one.ending = false;
        });
        drop(all);
        if fewer {
            self.fewer.notify_waiters();
        }
    }

    /// The upload is about to become a blob.
    pub fn ending(&self, id: UploadId) {
        self.all().with(id, |one| one.ending = true);
    }

    /// The upload is over, and its bytes are gone or counted as a blob's.
    pub fn end(&self, id: UploadId) {
        let mut all = self.all();
        if let Some(one) = all.one.remove(&id) {
            all.sum(&one, false);
            drop(all);
            self.fewer.notify_waiters();
        }
    }

    /// Whether some prefix had no room for the upload's bytes and let it go on because it shows the digest.
    pub fn is_spared(&self, id: UploadId) -> bool {
        let all = self.all();
        all.one.get(&id).is_some_and(|one| !one.spared.is_empty())
    }

    /// Bytes of all unfinished uploads below a prefix.
    pub fn below(&self, prefix: &str) -> u64 {
        let all = self.all();
        let sum = all.sums.get(prefix).copied().unwrap_or_default();
        sum.bytes + sum.spared
    }

    /// Bytes that the upload has.
    pub(super) fn of(&self, id: UploadId) -> u64 {
        self.all().one.get(&id).map_or(0, |one| one.bytes)
    }

    /// By prefix of a name, the bytes of all uploads but this one.
    pub(super) fn others(&self, id: UploadId, name: &str) -> HashMap<Box<str>, Sum> {
        let mut all = self.all();
        let own = all.one.remove(&id);
        if let Some(own) = &own {
            all.sum(own, false);
        }
        let sums = prefixes(name)
            .filter_map(|prefix| Some((prefix.into(), *all.sums.get(prefix)?)))
            .collect();
        if let Some(own) = own {
            all.sum(&own, true);
            all.one.insert(id, own);
        }
        sums
    }

    /// To be held by whoever adds bytes that must have room: two at once would not see each other's.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Ends when some bytes are given back; counts from when it was enabled.
    pub(super) fn fewer(&self) -> Notified<'_> {
        self.fewer.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> UploadId {
        UploadId([n; 16])
    }

    #[test]
    fn every_prefix_of_a_name_has_the_sum_of_what_is_below() {
        let uploads = Uploads::default();
        uploads.raise(id(1), "a/b", 10);
        uploads.raise(id(1), "a/b", 7);
        uploads.raise(id(2), "a/c", 5);
        uploads.raise(id(3), "ab", 1);
        let below = |prefix| uploads.below(prefix);
        assert_eq!((below(""), below("a"), below("a/b")), (16, 15, 10));
        uploads.settle(id(1), 4);
        uploads.settle(id(9), 4);
        assert_eq!((below(""), below("a"), below("a/b")), (10, 9, 4));
        uploads.ending(id(2));
        let others = uploads.others(id(1), "a/b");
        let (bytes, ending, spared) = (5, 5, 0);
        let sum = Sum {
            bytes,
            ending,
            spared,
        };
        assert_eq!(others.get("a"), Some(&sum));
        assert_eq!(others.get("a/b"), None);
        uploads.end(id(1));
        uploads.end(id(1));
        uploads.end(id(2));
        uploads.end(id(3));
        let all = uploads.all();
        assert!(all.one.is_empty() && all.sums.is_empty());
    }

    #[test]
    fn what_a_prefix_shows_already_is_beside_its_sum() {
        let uploads = Uploads::default();
        uploads.add(id(1), "a/b", 10, vec!["a".into()]);
        assert!(uploads.is_spared(id(1)) && !uploads.is_spared(id(2)));
        let others = uploads.others(id(2), "a/c");
        let of = |prefix: &str| others.get(prefix).map(|sum| (sum.bytes, sum.spared));
        assert_eq!((of(""), of("a")), (Some((10, 0)), Some((0, 10))));
        assert_eq!(uploads.below("a"), 10);
        uploads.end(id(1));
        assert_eq!(uploads.below("a"), 0);
    }
}
