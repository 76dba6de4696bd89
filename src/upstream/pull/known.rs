//! What memory knows of upstreams: when a tag was last compared with its own, what they do not have, how long the blobs are
//! that manifests name.
//!
//! Bounded, and lost with the process: then a tag is compared again.

use super::{PullError, PullErrorKind};
use crate::cache::Cache;
use crate::types::{Digest, RepoName, Tag};
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
    pub upstream: u64,
}

/// See the module.
pub(super) struct Known {
    tags: Cache<(RepoName, Tag), Checked>,
    refused: Cache<(RepoName, String), (u64, PullError)>,
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
            refused: Cache::new(BYTES, Some(ABSENT), |key, _| {
                key.0.as_str().len() + key.1.len() + 200
            }),
            blobs: Cache::new(BYTES, None, |key, _| key.0.as_str().len() + 80),
            since: Instant::now(),
        }
    }
}

impl Known {
    /// How long ago a tag was found to mean this; none if it was not, or meant something else.
    pub fn age(
        &self,
        upstream: u64,
        (name, tag): (&RepoName, &Tag),
        digest: &Digest,
    ) -> Option<Duration> {
        let checked = self.tags.get(&(name.clone(), tag.clone()))?;
        let is_it = checked.digest == *digest && checked.upstream == upstream;
        is_it.then(|| checked.at.elapsed())
    }

    /// The same, at least: of what was not compared since the start, the time since then.
    pub fn age_or_more(&self, upstream: u64, of: (&RepoName, &Tag), digest: &Digest) -> Duration {
        let age = self.age(upstream, of, digest);
        age.unwrap_or_else(|| self.since.elapsed())
    }

    /// How long this memory is old.
    pub fn since(&self) -> Duration {
        self.since.elapsed()
    }

    /// A tag was found to mean this.
    pub fn checked(&self, upstream: u64, (name, tag): (&RepoName, &Tag), digest: Digest) {
        let at = Instant::now();
        let key = (name.clone(), tag.clone());
        let what = super::manifest_of(tag.as_str());
        self.refused.remove(&(name.clone(), what));
        self.tags.insert(
            key,
            Checked {
                digest,
                at,
                upstream,
            },
        );
    }

    /// Why the upstream did not give it a moment ago.
    pub fn refused(&self, upstream: u64, name: &RepoName, what: &str) -> Option<PullError> {
        let (of, error) = self.refused.get(&(name.clone(), what.to_owned()))?;
        (of == upstream).then_some(error)
    }

    /// Remembers that the upstream does not have it, or does not give it; other failures are worth another try.
    pub fn note(&self, upstream: u64, name: &RepoName, what: &str, error: &PullError) {
        if matches!(
            error.kind(),
            PullErrorKind::NotThere | PullErrorKind::Denied
        ) {
            let key = (name.clone(), what.to_owned());
            self.refused.insert(key, (upstream, error.clone()));
        }
    }

    /// The length of a blob, by a manifest that came.
    pub fn blob(&self, name: &RepoName, digest: &Digest) -> Option<u64> {
        self.blobs.get(&(name.clone(), *digest))
    }

    /// A manifest that came says that a blob is so long.
    pub fn names_blob(&self, name: &RepoName, digest: Digest, size: u64) {
        self.refused
            .remove(&(name.clone(), format!("blob {digest}")));
        self.blobs.insert((name.clone(), digest), size);
    }
}
