//! A manifest of an upstream: from here while it is fresh, else compared with what the upstream has, else fetched and kept.
//!
//! What is here is never held up by an upstream that does not answer: it is served as it is, and says so.

use super::{PullError, PullThrough, Pulled, Stale};
use crate::formats::oci::Oci;
use crate::repo::format::{Format as _, Said};
use crate::repo::{
    At, Blob, BlobBody, FetchedFor, Manifest, Origin, PutManifest, RepoError, Source,
};
use crate::types::{Digest, Reference, RepoName, Tag};
use crate::upstream::Upstream;
use crate::upstream::remote::{Came, Meant};
use std::sync::Arc;

/// How the history names what a pull brought.
const WHO: &str = "dryport cache";

impl PullThrough {
    /// The manifest of a tag or digest in a repository that belongs to an upstream. `head`: a client asks whether it is here.
    pub async fn manifest(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        reference: &Reference,
        head: bool,
    ) -> Result<Pulled, PullError> {
        let here = self.manifest_here(name, reference, head).await?;
        match (reference, here) {
            (Reference::Digest(_), Some(manifest)) => {
                upstream.tally.hit();
                Ok(Pulled::fresh(manifest))
            }
            (Reference::Digest(_), None) => self.fetched(upstream, name, reference).await,
            (Reference::Tag(tag), here) => self.tagged(upstream, name, tag, here).await,
        }
    }

    /// What is here, if it is.
    async fn manifest_here(
        &self,
        name: &RepoName,
        reference: &Reference,
        head: bool,
    ) -> Result<Option<Arc<Manifest>>, PullError> {
        let repos = &self.0.repos;
        // Whoever pulls by digest relies on it as whoever asks by HEAD: its lease is renewed.
        let found = if head || matches!(reference, Reference::Digest(_)) {
            repos.manifest_head(name, &At::Head, reference).await
        } else {
            repos.manifest(name, &At::Head, reference).await
        };
        match found {
            Ok(manifest) => Ok(Some(manifest)),
            Err(RepoError::NameUnknown(_) | RepoError::ManifestUnknown(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn tagged(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        tag: &Tag,
        here: Option<Arc<Manifest>>,
    ) -> Result<Pulled, PullError> {
        let reference = Reference::Tag(tag.clone());
        let Some(manifest) = here else {
            return self.fetched(upstream, name, &reference).await;
        };
        let (digest, known) = (manifest.blob.digest, &self.0.known);
        let age = known.age(upstream.id, (name, tag), &digest);
        if age.is_some_and(|age| age <= upstream.settings.freshness) {
            upstream.tally.hit();
            return Ok(Pulled::fresh(manifest));
        }
        if !self.is_cache(name).await? {
            return Ok(Pulled::fresh(manifest));
        }
        match self.renewed(upstream, name, &reference, digest).await {
            Ok(manifest) => {
                upstream.tally.hit();
                Ok(Pulled::fresh(manifest))
            }
            Err(error) => {
                upstream.tally.stale();
                let age = known.age_or_more(upstream.id, (name, tag), &digest);
                let why = error.why_stale();
                let stale = Some(Stale { age, why });
                Ok(Pulled { manifest, stale })
            }
        }
    }

    /// What a tag means that means something here, if the upstream says it soon.
    async fn renewed(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        reference: &Reference,
        here: Digest,
    ) -> Result<Arc<Manifest>, PullError> {
        let what = super::manifest_of(&reference.to_string());
        let patience = self.patience(upstream, &what)?;
        if let Some(error) = self.0.known.refused(upstream.id, name, &what) {
            return Err(error);
        }
        let asked = self.fetch(upstream, name, reference, Some(here));
        let late = |_| Err(PullError::late(&upstream.settings.name));
        let asked = tokio::time::timeout(patience, asked).await;
        asked.unwrap_or_else(late)
    }

    /// What is not here.
    async fn fetched(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        reference: &Reference,
    ) -> Result<Pulled, PullError> {
        let what = super::manifest_of(&reference.to_string());
        self.may_fetch(upstream, name, &what).await?;
        if let Some(error) = self.0.known.refused(upstream.id, name, &what) {
            return Err(error);
        }
        upstream.tally.miss();
        let manifest = self.fetch(upstream, name, reference, None).await?;
        Ok(Pulled::fresh(manifest))
    }

    /// One request to the upstream for all who ask now; it goes on without them. `here` is what a tag means here.
    async fn fetch(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        reference: &Reference,
        here: Option<Digest>,
    ) -> Result<Arc<Manifest>, PullError> {
        let key = (name.clone(), reference.clone());
        let (this, upstream) = (self.clone(), Arc::clone(upstream));
        let of = key.clone();
        let flight = self.0.manifests.join(&key, move |ticket| async move {
            let _until_the_end = ticket;
            let (name, reference) = of;
            let asked = this.ask(&upstream, &name, &reference, here);
            let done = Box::pin(super::in_turn(&upstream, asked)).await;
            if let Err(error) = &done {
                upstream.tally.error();
                tracing::debug!(upstream = %upstream.settings.name, repo = %name, %reference, %error, "nothing came");
                let what = super::manifest_of(&reference.to_string());
                this.0.known.note(upstream.id, &name, &what, error);
            }
            done
        });
        flight.await
    }

    async fn ask(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        reference: &Reference,
        here: Option<Digest>,
    ) -> Result<Arc<Manifest>, PullError> {
        let there = super::name_there(upstream, name)?;
        let remote = upstream.remote().await?;
        let mut wanted = reference.clone();
        if let (Reference::Tag(tag), Some(here)) = (reference, here) {
            match remote.head_manifest(&there, reference).await? {
                Meant::Digest(digest) if digest == here => {
                    self.0.known.checked(upstream.id, (name, tag), digest);
                    let manifest = self.0.repos.manifest(name, &At::Head, reference).await;
                    return Ok(manifest?);
                }
                Meant::Digest(digest) => wanted = Reference::Digest(digest),
                Meant::Unsaid => {}
            }
        }
        let came = remote.manifest(&there, &wanted).await?;
        self.keep(upstream, name, &there, reference, came).await
    }

    /// Keeps a manifest, and lets its tag mean it. Where it cannot be kept (the disk or a quota is full) it is served all the
    /// same.
    async fn keep(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        there: &RepoName,
        reference: &Reference,
        came: Came,
    ) -> Result<Arc<Manifest>, PullError> {
        let read = Oci.inspect(&came.bytes, Some(&came.media_type));
        let read = read.map_err(|e| PullError::Wrong {
            upstream: upstream.settings.name.clone(),
            why: format!("manifest {}: {e}", came.digest),
        })?;
        for child in read
            .children
            .iter()
            .filter(|child| child.said != Said::Manifest)
        {
            self.0.known.names_blob(name, child.digest, child.size);
        }
        match self.commit(upstream, name, there, reference, &came).await {
            // What is attached here by a push stays what it is.
            Ok(Some(ours)) => {
                if let Reference::Tag(tag) = reference {
                    self.0.known.checked(upstream.id, (name, tag), ours);
                }
                let manifest = self.0.repos.manifest(name, &At::Head, reference).await;
                return Ok(manifest?);
            }
            Ok(None) => {}
            // Somebody pushed to the name, or mirrors to it, meanwhile.
            Err(RepoError::Exists(_) | RepoError::Refused(_)) => {
                return Err(PullError::NotHere(super::manifest_of(
                    &reference.to_string(),
                )));
            }
            Err(error) => {
                tracing::warn!(repo = %name, manifest = %came.digest, %error, "a manifest of an upstream cannot be kept; it is served without");
            }
        }
        if let Reference::Tag(tag) = reference {
            self.0.known.checked(upstream.id, (name, tag), came.digest);
        }
        let (digest, size) = (came.digest, came.bytes.len() as u64);
        Ok(Arc::new(Manifest {
            blob: Blob {
                digest,
                size,
                body: BlobBody::Inline(came.bytes),
            },
            media_type: came.media_type,
        }))
    }

    /// Makes it visible; answers what the tag means where that was pushed here and stays.
    async fn commit(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        there: &RepoName,
        reference: &Reference,
        came: &Came,
    ) -> Result<Option<Digest>, RepoError> {
        let repos = &self.0.repos;
        let home = repos.ensure_cache(name).await?;
        let registry = upstream.settings.urls.first();
        let tags = match reference {
            Reference::Tag(tag) => vec![tag.clone()],
            Reference::Digest(_) => Vec::new(),
        };
        let put = PutManifest {
            bytes: came.bytes.clone(),
            media_type: Some(came.media_type.clone()),
            reference: Reference::Digest(came.digest),
            tags,
            source: Source::Registry {
                registry: registry
                    .map(|url| url.host().to_owned())
                    .unwrap_or_default(),
                name: there.to_string(),
                digest: came.digest,
            },
        };
        let fetched = FetchedFor {
            home,
            job: None,
            who: WHO,
            only: Some(Origin::Cache),
        };
        let done = repos.commit_closure(name, vec![put], fetched).await?;
        let kept = done.into_iter().flat_map(|put| put.kept).next();
        Ok(kept.map(|kept| kept.here))
    }

    /// Whether what is here under this name came from an upstream: what was pushed or mirrored wins over it.
    pub(super) async fn is_cache(&self, name: &RepoName) -> Result<bool, PullError> {
        let origin = self.0.repos.origin(name).await?;
        Ok(origin == Some(Origin::Cache))
    }
}
