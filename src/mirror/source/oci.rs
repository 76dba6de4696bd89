//! The registry protocol as a client (distribution-spec): manifests, referrers, blobs of one repository.

use super::document::{self, Document};
use super::reference::SourceImage;
use crate::fetch::{Download, FetchClient, FetchError, FetchSpan};
use crate::formats::oci::Oci;
use crate::mirror::{MirrorError, Wrong};
use crate::repo::format::{Format as _, Inspected};
use crate::types::{Algorithm, Digest, MediaType, Reference};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The largest manifest taken (distribution-spec: 4 MiB).
pub(in crate::mirror) const MANIFEST_MAX: u64 = 4 * 1024 * 1024;
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, */*";

/// How often what is attached is asked for, at first.
const ATTACHED_TRIES: u32 = 3;

/// One repository of one registry.
pub(in crate::mirror) struct Registry {
    pub(in crate::mirror) client: FetchClient,
    source: SourceImage,
    pub(in crate::mirror) scope: String,
    /// The referrers API answered that it does not exist.
    pub(in crate::mirror) no_referrers: AtomicBool,
    /// A list of referrers was found under a tag.
    pub(in crate::mirror) keeps_tags: AtomicBool,
    /// HEAD of a manifest answered neither that it is there nor that it is not.
    no_head: AtomicBool,
    /// A request for what is attached failed although it was tried several times.
    weary: AtomicBool,
    /// Further pages of referrers so far.
    pub(in crate::mirror) pages: AtomicUsize,
}

/// A manifest as it came, verified. What it says is read again where it is needed, and not kept.
#[derive(Debug, Clone)]
pub(in crate::mirror) struct Fetched {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
}

impl Fetched {
    /// What it says.
    pub fn document(&self) -> Result<Document, MirrorError> {
        Document::parse(&self.digest, &self.media_type, &self.bytes)
    }

    /// What the repository will read in it, or why it would refuse it.
    pub fn inspect(&self) -> Result<Inspected, MirrorError> {
        let read = Oci.inspect(&self.bytes, Some(&self.media_type));
        read.map_err(|e| {
            MirrorError::Verify(format!(
                "manifest {} of the source cannot be kept: {e}",
                self.digest
            ))
        })
    }

    /// The manifest that it refers to.
    pub fn subject(&self) -> Option<Digest> {
        self.inspect().ok()?.subject
    }
}

impl Registry {
    pub(in crate::mirror) fn new(client: FetchClient, source: SourceImage) -> Self {
        let scope = format!("repository:{}:pull", source.name());
        Self {
            client,
            source,
            scope,
            no_referrers: AtomicBool::new(false),
            keeps_tags: AtomicBool::new(false),
            no_head: AtomicBool::new(false),
            weary: AtomicBool::new(false),
            pages: AtomicUsize::new(0),
        }
    }

    /// What is being copied.
    pub(in crate::mirror) fn source(&self) -> &SourceImage {
        &self.source
    }

    pub(in crate::mirror) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.source.name())
    }

    /// A manifest, or `None` if the registry does not have it. By digest, its bytes are verified; by tag, they are
    /// checked against the digest that the registry names.
    pub(in crate::mirror) async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<Option<Fetched>, MirrorError> {
        self.manifest_by(&self.client, reference).await
    }

    async fn manifest_by(
        &self,
        client: &FetchClient,
        reference: &Reference,
    ) -> Result<Option<Fetched>, MirrorError> {
        match self.manifest_once(client, reference).await {
            Err(MirrorError::Wrong(wrong)) => {
                client.again(&wrong.to_string()).await;
                self.manifest_once(client, reference).await
            }
            other => other,
        }
    }

    /// That something of another digest came.
    pub(in crate::mirror) fn wrong(
        &self,
        what: &'static str,
        wanted: Digest,
        got: Digest,
    ) -> Wrong {
        Wrong {
            host: self.source.registry().to_owned(),
            what,
            wanted,
            got,
            note: String::new(),
        }
    }

    async fn manifest_once(
        &self,
        client: &FetchClient,
        reference: &Reference,
    ) -> Result<Option<Fetched>, MirrorError> {
        let path = self.path(&format!("manifests/{reference}"));
        let reply = client.get(&path, ACCEPT, &self.scope, MANIFEST_MAX).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let reply = reply.check()?;
        let said = reply
            .header("docker-content-digest")
            .and_then(|d| d.parse::<Digest>().ok());
        let wanted = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => said,
        };
        if reply.status == 203 && wanted.is_none() {
            let text = format!(
                "{} answered 203 for {reference}: a proxy on the way changes what the registry sends, and no digest says what it must be; reach the registry without that proxy, or ask for the image by its digest",
                self.source.registry()
            );
            return Err(MirrorError::Verify(text));
        }
        let algorithm = wanted.map_or(Algorithm::Sha256, |d| d.algorithm());
        let digest = Digest::of(algorithm, &reply.body);
        if let Some(wanted) = wanted.filter(|w| *w != digest) {
            let coding = reply.header("content-encoding").unwrap_or_default();
            let mut wrong = self.wrong("manifest", wanted, digest);
            wrong.note = note(Some(coding).filter(|coding| !coding.is_empty()));
            return Err(MirrorError::Wrong(wrong));
        }
        // Under a tag it is what clients make of it: what refers to it names it by that digest.
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &reply.body),
        };
        let media_type = document::media_type(&digest, &reply.body, reply.header("content-type"));
        let media_type = media_type.map_err(|error| match (error, reply.coding()) {
            (MirrorError::Verify(why), Some(coding)) => {
                MirrorError::Verify(why + &note(Some(&coding)))
            }
            (error, _) => error,
        })?;
        Ok(Some(Fetched {
            digest,
            media_type,
            bytes: reply.body,
        }))
    }

    /// A blob that is as small as a manifest, verified; `None` if the registry does not have it.
    pub(in crate::mirror) async fn small_blob(
        &self,
        digest: &Digest,
    ) -> Result<Option<Bytes>, MirrorError> {
        match self.small_blob_once(digest).await {
            Err(MirrorError::Wrong(wrong)) => {
                self.client.again(&wrong.to_string()).await;
                self.small_blob_once(digest).await
            }
            other => other,
        }
    }

    async fn small_blob_once(&self, digest: &Digest) -> Result<Option<Bytes>, MirrorError> {
        let path = self.path(&format!("blobs/{digest}"));
        let client = &self.client;
        let reply = client.get(&path, "*/*", &self.scope, MANIFEST_MAX).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let reply = reply.check()?;
        let of = |body: &Bytes| Digest::of(digest.algorithm(), body);
        let (got, coding) = (of(&reply.body), reply.coding());
        let found = [Some(reply.body), reply.coded];
        if let Some(body) = found.into_iter().flatten().find(|body| of(body) == *digest) {
            return Ok(Some(body));
        }
        let mut wrong = self.wrong("blob", *digest, got);
        wrong.note = note(coding.as_deref());
        Err(MirrorError::Wrong(wrong))
    }

    /// The client for what is attached: there may be much of it that is broken in the same way, so once tries did not help
    /// there is one only.
    pub(in crate::mirror) fn attached_client(&self) -> FetchClient {
        let weary = self.weary.load(Ordering::Relaxed);
        self.client
            .with_tries(if weary { 1 } else { ATTACHED_TRIES })
    }

    /// Notes what failed although it was tried again.
    pub(in crate::mirror) fn tire(&self, error: &MirrorError) {
        let passing = match error {
            MirrorError::Fetch(FetchError::Status { status, .. }) => *status >= 500,
            MirrorError::Fetch(FetchError::Connect { .. } | FetchError::Body { .. }) => true,
            _ => false,
        };
        self.weary.fetch_or(passing, Ordering::Relaxed);
    }

    /// A manifest that is attached to another one, by a tag that most manifests do not have: HEAD first, which costs a
    /// registry less, and GET if that says neither yes nor no.
    pub(in crate::mirror) async fn attached(
        &self,
        reference: &Reference,
    ) -> Result<Option<Fetched>, MirrorError> {
        if !self.no_head.load(Ordering::Relaxed) {
            let path = self.path(&format!("manifests/{reference}"));
            let client = self.client.with_tries(1);
            match client.head(&path, ACCEPT, &self.scope).await {
                Ok(reply) if reply.status == 404 => return Ok(None),
                Ok(reply) if reply.status == 200 => {}
                _ => self.no_head.store(true, Ordering::Relaxed),
            }
        }
        self.attached_list(reference).await
    }

    /// A manifest that stands for the list of what is attached to another one, or is attached itself.
    pub(in crate::mirror) async fn attached_list(
        &self,
        reference: &Reference,
    ) -> Result<Option<Fetched>, MirrorError> {
        let found = self.manifest_by(&self.attached_client(), reference).await;
        found.inspect_err(|error| self.tire(error))
    }

    /// Whether the registry says that it has this blob; `None` if it answers neither yes nor no.
    pub(in crate::mirror) async fn finds_blob(
        &self,
        digest: &Digest,
    ) -> Result<Option<bool>, FetchError> {
        let path = self.path(&format!("blobs/{digest}"));
        match self.client.head(&path, "*/*", &self.scope).await?.status {
            200 | 203 => Ok(Some(true)),
            404 => Ok(Some(false)),
            _ => Ok(None),
        }
    }

    /// The blob's length; `None` if the registry does not have it.
    pub(in crate::mirror) async fn blob_size(
        &self,
        digest: &Digest,
    ) -> Result<Option<u64>, MirrorError> {
        let path = self.path(&format!("blobs/{digest}"));
        let client = self.client.with_tries(1);
        match client.head(&path, "*/*", &self.scope).await {
            Ok(reply) if reply.status == 404 => return Ok(None),
            Ok(reply) if reply.status == 200 && reply.length().is_some() => {
                return Ok(reply.length());
            }
            // Where HEAD is not served, or says nothing, GET does.
            _ => {}
        }
        let reply = self.client.head_by_get(&path, &self.scope).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let reply = reply.check()?;
        let unknown = || {
            let host = self.source.registry();
            MirrorError::Verify(format!("{host} does not say how long blob {digest} is"))
        };
        reply.length().map(Some).ok_or_else(unknown)
    }

    /// Begins to download a span of a blob.
    pub(in crate::mirror) async fn blob(
        &self,
        digest: &Digest,
        span: FetchSpan,
    ) -> Result<Download, FetchError> {
        let path = self.path(&format!("blobs/{digest}"));
        self.client.download(&path, &self.scope, span).await
    }
}

/// What to say of a coding that nobody asked for, if there is one.
pub(in crate::mirror) fn note(coding: Option<&str>) -> String {
    coding.map_or_else(String::new, |coding| {
        let coding: String = coding
            .chars()
            .filter(|c| !c.is_control())
            .take(40)
            .collect();
        format!(" (its Content-Encoding is {coding}, which was not asked for)")
    })
}

/// `sha256-<hex>` and an ending: the tags of referrers before the API, and of cosign.
pub(in crate::mirror) fn fallback_tag(
    digest: &Digest,
    ending: &str,
) -> Result<crate::types::Tag, MirrorError> {
    // distribution-spec: at most 64 characters of the hash.
    let hex: String = digest.hex().chars().take(64).collect();
    let text = format!("{}-{hex}{ending}", digest.algorithm().name());
    text.parse()
        .map_err(|e| MirrorError::Internal(format!("{e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_long_digests_are_cut() {
        let digest = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(
            fallback_tag(&digest, ".sig").expect("tag").as_str().len(),
            "sha512-.sig".len() + 64
        );
    }
}
