//! What memory knows of upstreams: when a tag was last compared with its own, what they do not have, how long the blobs are
//! that manifests name.
//!
//! Bounded, and lost with the process: then a tag is compared again.

use crate::cache::Cache;
use crate::types::{Digest, Reference, RepoName, Tag};
use std::time::{Duration, Instant};

/// For how long it is believed that an upstream does not have something.
const ABSENT: Duration = Duration::from_secs(10);
/// Most bytes of each of these.
const BYTES: u64 = 4 << 20;

/// What a tag was found to mean at its upstream, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    pub digest: Digest,
    pub at: Instant,
}

/// See the module.
pub(super) struct Known {
    tags: Cache<(RepoName, Tag), Checked>,
    absent: Cache<(RepoName, String), ()>,
    blobs: Cache<(RepoName, Digest), u64>,
    /// Nothing was compared before.
    since: Instant,
}

impl Default for Known {
    fn default() -> Self {
        let names =
            |key: &(RepoName, Tag), _: &Checked| key.0.as_str().len() + key.1.as_str().len() + 90;
        Self {
            tags: Cache::new(BYTES, None, names),
            absent: Cache::new(BYTES, Some(ABSENT), |key, ()| {
                key.0.as_str().len() + key.1.len()
            }),
            blobs: Cache::new(BYTES, None, |key, _| key.0.as_str().len() + 80),
            since: Instant::now(),
        }
    }
}

impl Known {
    /// How long ago a tag was found to mean this; none if it was not, or meant something else.
    pub fn age(&self, name: &RepoName, tag: &Tag, digest: &Digest) -> Option<Duration> {
        let checked = self.tags.get(&(name.clone(), tag.clone()))?;
        (checked.digest == *digest).then(|| checked.at.elapsed())
    }

    /// The same, at least: of what was not compared since the start, the time since then.
    pub fn age_or_more(&self, name: &RepoName, tag: &Tag, digest: &Digest) -> Duration {
        let age = self.age(name, tag, digest);
        age.unwrap_or_else(|| self.since.elapsed())
    }

    /// How long this memory is old.
    pub fn since(&self) -> Duration {
        self.since.elapsed()
    }

    /// A tag was found to mean this.
    pub fn checked(&self, name: &RepoName, tag: &Tag, digest: Digest) {
        let at = Instant::now();
        let key = (name.clone(), tag.clone());
        self.absent.remove(&(name.clone(), tag.to_string()));
        self.tags.insert(key, Checked { digest, at });
    }

    /// Whether the upstream was found not to have it, a moment ago.
    pub fn is_absent(&self, name: &RepoName, reference: &Reference) -> bool {
        self.absent
            .get(&(name.clone(), reference.to_string()))
            .is_some()
    }

    /// The upstream does not have it.
    pub fn absent(&self, name: &RepoName, reference: &Reference) {
        self.absent
            .insert((name.clone(), reference.to_string()), ());
    }

    /// The length of a blob, by a manifest that came.
    pub fn blob(&self, name: &RepoName, digest: &Digest) -> Option<u64> {
        self.blobs.get(&(name.clone(), *digest))
    }

    /// A manifest that came says that a blob is so long.
    pub fn names_blob(&self, name: &RepoName, digest: Digest, size: u64) {
        self.blobs.insert((name.clone(), digest), size);
    }
}
