//! Pulling through: what a repository of an upstream is asked for comes from here, or from the upstream and then from here.
//!
//! Owns what is under way: one request to an upstream for any number of waiting clients. Nothing of a request that fails
//! becomes visible, and a repository is made only for a manifest that was verified.

mod blob;
mod error;
mod fill;
mod flight;
mod known;
mod lists;
mod manifest;

pub use crate::blobs::{Growing, GrowingReader};
pub use blob::{Coming, PulledBlob};
pub use error::{PullError, PullErrorKind};
pub use lists::{PulledReferrers, PulledTags};

use super::{Upstream, Upstreams};
use crate::fetch::peer::PeerStanding;
use crate::repo::{Manifest, Origin, Repos};
use crate::types::{Digest, Reference, RepoName};
use flight::Flights;
use known::Known;
use lists::Lists;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long what is here waits for an upstream that is up to say whether it still is what it has.
const WAIT: Duration = Duration::from_secs(1);
/// How long a manifest or a list may take in all.
const LONGEST: Duration = Duration::from_mins(1);
/// How soon it is worth asking an upstream again that is away, where it did not say itself.
const AGAIN: Duration = Duration::from_secs(5);

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct PullThrough(Arc<Inner>);

struct Inner {
    repos: Repos,
    upstreams: Upstreams,
    known: Known,
    manifests: Flights<(RepoName, Reference), Arc<Manifest>>,
    blobs: Flights<(RepoName, Digest), blob::Begun>,
    lists: Lists,
    tag_lists: Flights<RepoName, lists::Tags>,
    referrer_lists: Flights<(RepoName, Digest), lists::Referrers>,
}

/// A manifest, and whether it may be old.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// It.
    pub manifest: Arc<Manifest>,
    /// Why it may not be what the upstream has now; none if it is, as far as it must be.
    pub stale: Option<Stale>,
}

impl Pulled {
    fn fresh(manifest: Arc<Manifest>) -> Self {
        Self {
            manifest,
            stale: None,
        }
    }
}

/// That something may be old.
#[derive(Debug, Clone)]
pub struct Stale {
    /// How long ago it was compared with the upstream's, at least.
    pub age: Duration,
    /// Why it was not compared now.
    pub why: String,
}

impl PullThrough {
    /// Over these repositories and upstreams.
    pub fn new(repos: Repos, upstreams: Upstreams) -> Self {
        Self(Arc::new(Inner {
            repos,
            upstreams,
            known: Known::default(),
            manifests: Flights::default(),
            blobs: Flights::default(),
            lists: Lists::default(),
            tag_lists: Flights::default(),
            referrer_lists: Flights::default(),
        }))
    }

    /// Whether there is no upstream at all.
    pub fn is_empty(&self) -> bool {
        self.0.upstreams.is_empty()
    }

    /// The upstream that `?ns=` names by one of its hosts.
    pub fn of_namespace(&self, host: &str) -> Option<Arc<Upstream>> {
        self.0.upstreams.of_namespace(host)
    }

    /// The upstream of bare names.
    pub fn default_upstream(&self) -> Option<Arc<Upstream>> {
        self.0.upstreams.default_upstream()
    }

    /// The upstream whose repository this would be, if any is.
    pub fn upstream_of(&self, name: &RepoName) -> Option<Arc<Upstream>> {
        self.0.upstreams.of(name)
    }

    /// Work that is under way.
    pub fn under_way(&self) -> usize {
        let content = self.0.manifests.len() + self.0.blobs.len();
        content + self.0.tag_lists.len() + self.0.referrer_lists.len()
    }

    fn is_offline(&self, upstream: &Upstream) -> bool {
        upstream.settings.offline || self.0.upstreams.is_offline()
    }

    /// How long what is here waits for the upstream; refuses where it is not asked now.
    fn patience(&self, upstream: &Upstream, what: &str) -> Result<Duration, PullError> {
        let name = upstream.settings.name.clone();
        if self.is_offline(upstream) {
            return Err(PullError::Offline {
                upstream: name,
                what: what.to_owned(),
            });
        }
        match upstream.standing() {
            PeerStanding::Up | PeerStanding::Unknown => Ok(WAIT),
            PeerStanding::Doubtful => Ok(Duration::ZERO),
            PeerStanding::Away { until } => Err(PullError::Away {
                upstream: name,
                why: "it failed too often lately".to_owned(),
                again: until.saturating_duration_since(Instant::now()),
            }),
        }
    }

    /// Refuses what must not be asked for: of a name that something else has here, one that is not allowed, or while the
    /// upstream is switched off.
    async fn may_fetch(
        &self,
        upstream: &Upstream,
        name: &RepoName,
        what: &str,
    ) -> Result<RepoName, PullError> {
        if matches!(
            self.0.repos.origin(name).await?,
            Some(Origin::Local | Origin::Mirror)
        ) {
            return Err(PullError::NotHere(what.to_owned()));
        }
        let there = name_there(upstream, name)?;
        if self.is_offline(upstream) {
            return Err(PullError::Offline {
                upstream: upstream.settings.name.clone(),
                what: what.to_owned(),
            });
        }
        Ok(there)
    }
}

/// The name there, if it may be asked for.
fn name_there(upstream: &Upstream, name: &RepoName) -> Result<RepoName, PullError> {
    let there = upstream.settings.name_there(name);
    there.ok_or_else(|| PullError::NotAllowed(upstream.settings.name.clone()))
}

/// How what was asked for is told, and remembered.
fn manifest_of(reference: &str) -> String {
    format!("manifest {reference}")
}

/// Does work for an upstream: not too much at once, and none of it for ever.
async fn in_turn<T>(
    upstream: &Upstream,
    work: impl Future<Output = Result<T, PullError>>,
) -> Result<T, PullError> {
    let work = async {
        let _turn = upstream.turns.acquire().await;
        work.await
    };
    let late = |_| Err(PullError::late(&upstream.settings.name));
    tokio::time::timeout(LONGEST, work)
        .await
        .unwrap_or_else(late)
}
