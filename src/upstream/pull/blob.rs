//! A blob of an upstream: from here, or while it comes.
//!
//! One download for all who want it; each of them reads the file that grows. Nobody gets its last byte before the digest is
//! right, so a wrong one is never whole at a client.

use super::flight::Ticket;
use super::{PullError, PullThrough, fill};
use crate::blobs::Growing;
use crate::repo::{At, Blob, RepoError};
use crate::types::{Digest, RepoName};
use crate::upstream::Upstream;
use crate::upstream::remote::Remote;
use std::sync::Arc;
use std::time::Duration;

/// How often, and how long in all, a blob is waited for that a mirror run brings.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: usize = 120;
/// Repositories that are looked at to find who has a blob.
const HOLDERS: usize = 20;

/// A blob, here or on its way.
#[derive(Debug)]
pub enum PulledBlob {
    /// It is here.
    Here(Blob),
    /// It comes.
    Coming(Coming),
}

/// A blob that comes.
#[derive(Debug, Clone)]
pub struct Coming {
    /// To read it while it does.
    pub growing: Growing,
    /// Its length in bytes, as a manifest says.
    pub size: u64,
}

/// What came of the beginning of a download.
#[derive(Clone)]
pub(super) enum Begun {
    /// There is nothing to download: it is here.
    Here,
    /// It comes.
    Coming(Coming),
}

impl PullThrough {
    /// A blob of a repository that belongs to an upstream.
    pub async fn blob(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        digest: &Digest,
    ) -> Result<PulledBlob, PullError> {
        // Once more if what was here goes in the very moment.
        for _ in 0..2 {
            if let Some(blob) = self.blob_here(name, digest).await? {
                upstream.tally.hit();
                return Ok(PulledBlob::Here(blob));
            }
            match self.begin(upstream, name, digest).await? {
                Begun::Here => {}
                Begun::Coming(coming) => return Ok(PulledBlob::Coming(coming)),
            }
        }
        Err(PullError::NotHere(format!("blob {digest}")))
    }

    /// The length of a blob, for HEAD: of what is not here, as the upstream says it.
    pub async fn blob_size(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        digest: &Digest,
    ) -> Result<u64, PullError> {
        match self.0.repos.blob_size(name, &At::Head, digest).await {
            Ok(size) => return Ok(size),
            Err(RepoError::NameUnknown(_) | RepoError::BlobUnknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let there = self
            .may_fetch(upstream, name, &format!("blob {digest}"))
            .await?;
        let named = self.named(upstream, name, digest).await?;
        // The length is the one that GET has; of the upstream only whether it is there counts.
        match upstream.remote().await?.head_blob(&there, digest).await {
            Err(error @ PullError::NotThere { .. }) => Err(error),
            _ => Ok(named),
        }
    }

    async fn blob_here(&self, name: &RepoName, digest: &Digest) -> Result<Option<Blob>, PullError> {
        match self.0.repos.blob(name, &At::Head, digest).await {
            Ok(blob) => Ok(Some(blob)),
            Err(RepoError::NameUnknown(_) | RepoError::BlobUnknown(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Joins the download, or begins it.
    async fn begin(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        digest: &Digest,
    ) -> Result<Begun, PullError> {
        let what = format!("blob {digest}");
        if let Some(error) = self.0.known.refused(upstream.id, name, &what) {
            return Err(error);
        }
        let key = (name.clone(), *digest);
        let (this, upstream) = (self.clone(), Arc::clone(upstream));
        let of = key.clone();
        let flight = self.0.blobs.join(&key, move |ticket| async move {
            let (name, digest) = of;
            let begun = this.download(&upstream, &name, digest, ticket).await;
            if let Err(error) = &begun {
                upstream.tally.error();
                let what = format!("blob {digest}");
                this.0.known.note(upstream.id, &name, &what, error);
            }
            begun
        });
        flight.await
    }

    async fn download(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepoName,
        digest: Digest,
        ticket: Ticket<(RepoName, Digest), Begun>,
    ) -> Result<Begun, PullError> {
        // It may have come between the caller's look and now.
        if self.blob_here(name, &digest).await?.is_some() {
            return Ok(Begun::Here);
        }
        let there = self
            .may_fetch(upstream, name, &format!("blob {digest}"))
            .await?;
        let size = self.named(upstream, name, &digest).await?;
        let remote = upstream.remote().await?;
        if self
            .shared(upstream, name, &there, (&digest, size), &remote)
            .await?
        {
            return Ok(Begun::Here);
        }
        upstream.tally.miss();
        let Some(mut fill) = self.fill(name, &digest).await? else {
            return Ok(Begun::Here);
        };
        let growing = fill.grow(Some(size))?;
        let begun = remote.blob(&there, &digest, (fill.offset(), size)).await;
        let download = match begun {
            Ok(download) => download,
            Err(error) => {
                fill::pause(&self.0.repos, name, fill).await;
                return Err(error);
            }
        };
        let coming = Coming { growing, size };
        let filling = fill::Filling {
            repos: self.0.repos.clone(),
            upstream: Arc::clone(upstream),
            name: name.clone(),
            digest,
        };
        tokio::spawn(crate::store::cause::carried(async move {
            let _others_join_until_the_end = ticket;
            filling.run(fill, download).await;
        }));
        Ok(Begun::Coming(coming))
    }

    /// The length of a blob that a manifest of the repository names; else nobody may have it fetched.
    async fn named(
        &self,
        upstream: &Upstream,
        name: &RepoName,
        digest: &Digest,
    ) -> Result<u64, PullError> {
        let known = self.0.known.blob(name, digest);
        let named = match known {
            Some(size) => Some(size),
            None => self.0.repos.named_blob(name, digest).await?,
        };
        // Of nothing, no last byte could be held back until the digest is right.
        let empty = Digest::of(digest.algorithm(), b"");
        let named = named.filter(|size| *size > 0 || *digest == empty);
        named.ok_or_else(|| PullError::NotThere {
            upstream: upstream.settings.name.clone(),
            what: format!("blob {digest}, which no manifest here names,"),
        })
    }

    /// Shows a blob that another repository of this upstream has, if the upstream says that this one has it, too. Nothing of
    /// other origin is shown in this way: that somebody knows its digest gives nobody a right to it.
    async fn shared(
        &self,
        upstream: &Upstream,
        name: &RepoName,
        there: &RepoName,
        (digest, size): (&Digest, u64),
        remote: &Remote,
    ) -> Result<bool, PullError> {
        let holders = self.0.repos.holders(digest, HOLDERS).await?;
        let mut is_ours = false;
        for holder in holders {
            let of = self.0.upstreams.of(&holder);
            if of.is_some_and(|of| of.settings.name == upstream.settings.name)
                && self.is_cache(&holder).await?
            {
                is_ours = true;
                break;
            }
        }
        if !is_ours {
            return Ok(false);
        }
        // Where HEAD is refused, GET says.
        let there = remote.head_blob(there, digest).await.ok().flatten();
        if there != Some(size) {
            return Ok(false);
        }
        Ok(self.0.repos.link_named(name, digest).await?)
    }

    /// The fill to write to; none if a mirror run brought the blob meanwhile.
    async fn fill(
        &self,
        name: &RepoName,
        digest: &Digest,
    ) -> Result<Option<crate::repo::Fill>, PullError> {
        let mut looks = 0;
        loop {
            match self.0.repos.fill(name, digest).await {
                Ok(fill) => return Ok(Some(fill)),
                Err(RepoError::UploadBusy) if looks < LOOKS => looks += 1,
                Err(RepoError::NameUnknown(_)) => {
                    return Err(PullError::NotHere(format!("blob {digest}")));
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(LOOK).await;
            if self.blob_here(name, digest).await?.is_some() {
                return Ok(None);
            }
        }
    }
}
