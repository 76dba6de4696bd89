//! Requests to an upstream, in the registry protocol (distribution-spec), and what comes of them: verified, or an error.

use super::pull::PullError;
use super::{Upstream, UpstreamName};
use crate::fetch::peer::{
    Peer, PeerAsk, PeerCounters, PeerDownload, PeerOptions, PeerStanding, PeerUrl,
};
use crate::fetch::{FetchError, FetchSpan, SmallAnswer};
use crate::mirror::document;
use crate::types::{Algorithm, Digest, MediaType, Reference, RepoName};
use bytes::Bytes;
use std::sync::{Arc, Weak};

/// The largest manifest that is taken, in bytes (distribution-spec).
const MANIFEST_MAX: u64 = 4 << 20;
/// Every type of manifest.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, */*";

/// A manifest as it came, verified.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
}

/// One upstream, as it is asked.
pub(super) struct Remote {
    upstream: UpstreamName,
    /// Weak, since that has this.
    whose: Weak<Upstream>,
    peer: Peer,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.upstream)
    }
}

/// What a HEAD of a manifest found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    /// This digest.
    Digest(Digest),
    /// There is one; which, a GET must say.
    Unsaid,
}

impl Remote {
    /// Asks as its settings say.
    pub async fn of(upstream: &Arc<Upstream>) -> Result<Arc<Self>, PullError> {
        let name = upstream.settings.name.clone();
        // Who pulls is told neither paths nor names of variables.
        let own = |why: &dyn std::fmt::Display| {
            tracing::warn!(upstream = %name, %why, "an upstream cannot be asked");
            PullError::NotReady(name.clone())
        };
        let url = upstream.settings.urls.first();
        let url = url.ok_or_else(|| own(&"it has no address"))?;
        let fetch = upstream.standing_options(url).await;
        let urls = upstream.settings.urls.iter().map(|url| PeerUrl {
            host: Upstream::host_of(url).to_owned(),
            is_plain: url.is_plain(),
            prefix: url.path().to_owned(),
        });
        let peer = Peer::new(PeerOptions {
            urls: urls.collect(),
            fetch: fetch.map_err(|e| own(&e))?,
            requests_per_second: upstream.settings.requests_per_second,
            bytes_per_second: upstream.settings.bytes_per_second,
            hedge: true,
        });
        Ok(Arc::new(Self {
            peer: peer.map_err(|e| own(&e))?,
            upstream: name,
            whose: Arc::downgrade(upstream),
        }))
    }

    /// How it fares.
    pub fn standing(&self) -> PeerStanding {
        self.peer.standing()
    }

    /// What was counted.
    pub fn counters(&self) -> PeerCounters {
        self.peer.counters()
    }

    /// What a tag or digest means there, by HEAD.
    pub async fn head_manifest(
        &self,
        there: &RepoName,
        reference: &Reference,
    ) -> Result<Meant, PullError> {
        let what = format!("manifest {reference}");
        let ask = ask(there, format!("manifests/{reference}"), ACCEPT);
        let reply = self.peer.head(&ask).await;
        let reply = reply.map_err(|e| self.failed(&what, &e))?;
        if matches!(reply.status, 405 | 501) {
            return Ok(Meant::Unsaid);
        }
        let reply = reply.check().map_err(|e| self.failed(&what, &e))?;
        let said = reply.header("docker-content-digest");
        let said = said.and_then(|digest| digest.parse().ok());
        Ok(said.map_or(Meant::Unsaid, Meant::Digest))
    }

    /// A manifest, verified: by its digest, or by the one that the upstream says.
    pub async fn manifest(
        &self,
        there: &RepoName,
        reference: &Reference,
    ) -> Result<Came, PullError> {
        match self.manifest_once(there, reference).await {
            // Something on the way may have spoilt it once.
            Err(PullError::WrongDigest { .. }) => self.manifest_once(there, reference).await,
            other => other,
        }
    }

    async fn manifest_once(
        &self,
        there: &RepoName,
        reference: &Reference,
    ) -> Result<Came, PullError> {
        let what = format!("manifest {reference}");
        let ask = ask(there, format!("manifests/{reference}"), ACCEPT);
        let reply = self.peer.get(&ask, MANIFEST_MAX).await;
        let reply = reply.and_then(SmallAnswer::check);
        let reply = reply.map_err(|e| self.failed(&what, &e))?;
        let said = reply.header("docker-content-digest");
        let wanted = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => said.and_then(|digest| digest.parse().ok()),
        };
        let algorithm = wanted.map_or(Algorithm::Sha256, |d: Digest| d.algorithm());
        let digest = Digest::of(algorithm, &reply.body);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            return Err(PullError::WrongDigest {
                upstream: self.upstream.clone(),
                what,
                wanted,
                got: digest,
            });
        }
        let media_type = document::media_type(&digest, &reply.body, reply.header("content-type"));
        Ok(Came {
            digest,
            media_type: media_type.map_err(|e| self.wrong(e.to_string()))?,
            bytes: reply.body,
        })
    }

    /// The length of a blob there.
    pub async fn head_blob(
        &self,
        there: &RepoName,
        digest: &Digest,
    ) -> Result<Option<u64>, PullError> {
        let what = format!("blob {digest}");
        let ask = ask(there, format!("blobs/{digest}"), "*/*");
        let reply = self.peer.head(&ask).await;
        let reply = reply.and_then(SmallAnswer::check);
        Ok(reply.map_err(|e| self.failed(&what, &e))?.length())
    }

    /// Begins to download a blob of so many bytes, from one of them on.
    pub async fn blob(
        &self,
        there: &RepoName,
        digest: &Digest,
        (from, size): (u64, u64),
    ) -> Result<PeerDownload, PullError> {
        let ask = ask(there, format!("blobs/{digest}"), "*/*");
        let span = FetchSpan {
            from,
            size,
            ranges: true,
            decode: true,
        };
        let begun = self.peer.download(&ask, span).await;
        begun.map_err(|e| self.failed(&format!("blob {digest}"), &e))
    }

    /// The first page of a list: tags, or what refers to a manifest.
    pub fn list(there: &RepoName, rest: &str) -> PeerAsk {
        let accept = format!("{}, application/json", MediaType::OCI_INDEX);
        ask(there, rest.to_owned(), &accept)
    }

    /// A page of a list.
    pub async fn page(&self, ask: &PeerAsk, limit: u64) -> Result<SmallAnswer, PullError> {
        let reply = self.peer.get(ask, limit).await;
        let reply = reply.and_then(SmallAnswer::check);
        reply.map_err(|e| self.failed("the list", &e))
    }

    /// What to ask for the next page, by the link of this one.
    pub fn next_page(
        &self,
        ask: &PeerAsk,
        page: &SmallAnswer,
        link: &str,
    ) -> Result<PeerAsk, PullError> {
        let next = self.peer.next_page(ask, page, link);
        next.map_err(|e| self.failed("the list", &e))
    }

    /// What a failed request means.
    pub fn failed(&self, what: &str, error: &FetchError) -> PullError {
        if matches!(error, FetchError::Unauthorized { known: true, .. })
            && let Some(upstream) = self.whose.upgrade()
        {
            upstream.forget_login();
        }
        PullError::of(&self.upstream, what, error)
    }

    /// Something wrong came.
    pub fn wrong(&self, why: String) -> PullError {
        PullError::Wrong {
            upstream: self.upstream.clone(),
            why,
        }
    }
}

fn ask(there: &RepoName, rest: String, accept: &str) -> PeerAsk {
    PeerAsk {
        name: there.to_string(),
        rest,
        accept: accept.to_owned(),
    }
}
