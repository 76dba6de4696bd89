//! The registry protocol as a client (distribution-spec): manifests, referrers, blobs of one repository.

use super::MirrorError;
use super::budget::Budget;
use super::document::{Document, Referrers};
use super::reference::Source;
use crate::fetch::{Client, Download, FetchError, Reply};
use crate::types::{Algorithm, Digest, MediaType, Reference};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The largest manifest taken (distribution-spec: 4 MiB).
pub(super) const MANIFEST_MAX: u64 = 4 * 1024 * 1024;
/// Pages of referrers beyond the first of each list, of a whole run: more are a defect of the other side.
const PAGES_MAX: usize = 1000;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, */*";

/// One repository of one registry.
pub(super) struct Registry {
    client: Client,
    source: Source,
    scope: String,
    /// The referrers API answered that it does not exist.
    no_referrers: AtomicBool,
    /// Further pages of referrers so far.
    pages: AtomicUsize,
}

/// A manifest as it came, verified. What it says is read again where it is needed, and not kept.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
}

impl Fetched {
    /// What it says.
    pub fn document(&self) -> Result<Document, MirrorError> {
        Document::parse(&self.digest, &self.bytes)
    }
}

impl Registry {
    pub(super) fn new(client: Client, source: Source) -> Self {
        let scope = format!("repository:{}:pull", source.name());
        Self {
            client,
            source,
            scope,
            no_referrers: AtomicBool::new(false),
            pages: AtomicUsize::new(0),
        }
    }

    /// What is being copied.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.source.name())
    }

    /// A manifest, or `None` if the registry does not have it. By digest, its bytes are verified; by tag, they are
    /// checked against the digest that the registry names.
    pub(super) async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<Option<Fetched>, MirrorError> {
        let path = self.path(&format!("manifests/{reference}"));
        let reply = self
            .client
            .get(&path, ACCEPT, &self.scope, MANIFEST_MAX)
            .await?;
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
        let algorithm = wanted.map_or(Algorithm::Sha256, |d| d.algorithm());
        let digest = Digest::of(algorithm, &reply.body);
        if let Some(wanted) = wanted.filter(|w| *w != digest) {
            let text = format!(
                "{} sent a manifest that is {digest}, not {wanted}",
                self.source.registry()
            );
            return Err(MirrorError::Verify(text));
        }
        let document = Document::parse(&digest, &reply.body)?;
        let media_type = document.media_type(reply.header("content-type"))?;
        if document.schema_version == Some(1) {
            let text = format!(
                "{reference} is a docker schema 1 manifest, which no client of today reads"
            );
            return Err(MirrorError::Verify(text));
        }
        Ok(Some(Fetched {
            digest,
            media_type,
            bytes: reply.body,
        }))
    }

    /// Whether the registry has this manifest; what it refuses counts as absent.
    pub(super) async fn has_manifest(&self, reference: &Reference) -> Result<bool, MirrorError> {
        let path = self.path(&format!("manifests/{reference}"));
        let reply = self.client.head(&path, ACCEPT, &self.scope).await?;
        Ok(reply.status == 200)
    }

    /// The manifests that name `digest` as their subject, with the sizes that the list gives: from the referrers API, or
    /// where that does not exist from the fallback tag (distribution-spec, "Listing Referrers"). At most `most`.
    pub(super) async fn referrers(
        &self,
        digest: &Digest,
        most: usize,
        budget: &Budget,
    ) -> Result<Vec<(Digest, u64)>, MirrorError> {
        if !self.no_referrers.load(Ordering::Relaxed) {
            if let Some(found) = self.referrers_api(digest, most, budget).await? {
                return Ok(found);
            }
            self.no_referrers.store(true, Ordering::Relaxed);
        }
        let tag = Reference::Tag(fallback_tag(digest, "")?);
        match self.manifest(&tag).await? {
            Some(index) => Ok(Referrers::parse(digest, &index.bytes, most)?.0),
            None => Ok(Vec::new()),
        }
    }

    async fn referrers_api(
        &self,
        digest: &Digest,
        most: usize,
        budget: &Budget,
    ) -> Result<Option<Vec<(Digest, u64)>>, MirrorError> {
        let mut target = self.path(&format!("referrers/{digest}"));
        let mut found = Vec::new();
        loop {
            let reply = self
                .client
                .get(&target, MediaType::OCI_INDEX, &self.scope, 2 * MANIFEST_MAX)
                .await?;
            // Registries without the API answer 404, but also 400, 403 or 405 from whatever stands in front.
            if matches!(reply.status, 400 | 403 | 404 | 405 | 501) {
                return Ok(None);
            }
            let reply = reply.check()?;
            let is_index = reply
                .header("content-type")
                .is_some_and(|t| t.starts_with(MediaType::OCI_INDEX));
            if !is_index {
                return Ok(None);
            }
            budget.page(reply.body.len() as u64)?;
            let most = most.saturating_sub(found.len());
            found.extend(Referrers::parse(digest, &reply.body, most)?.0);
            match next_page(&reply) {
                Some(_) if self.pages.fetch_add(1, Ordering::Relaxed) >= PAGES_MAX => break,
                Some(next) => target = next,
                None => return Ok(Some(found)),
            }
        }
        Err(MirrorError::Verify(format!(
            "the list of referrers of {digest} does not end"
        )))
    }

    /// Whether the registry gives this blob away.
    pub(super) async fn has_blob(&self, digest: &Digest) -> Result<bool, FetchError> {
        let path = self.path(&format!("blobs/{digest}"));
        Ok(self.client.head(&path, "*/*", &self.scope).await?.status == 200)
    }

    /// The blob's length, if the registry gives it away.
    pub(super) async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, FetchError> {
        let path = self.path(&format!("blobs/{digest}"));
        let reply = self.client.head(&path, "*/*", &self.scope).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let reply = reply.check()?;
        Ok(reply.header("content-length").and_then(|n| n.parse().ok()))
    }

    /// Begins to download a blob from `offset` on.
    pub(super) async fn blob(
        &self,
        digest: &Digest,
        offset: u64,
        size: u64,
    ) -> Result<Download, FetchError> {
        let path = self.path(&format!("blobs/{digest}"));
        self.client.download(&path, &self.scope, offset, size).await
    }
}

/// `sha256-<hex>` and an ending: the tags of referrers before the API, and of cosign.
pub(super) fn fallback_tag(
    digest: &Digest,
    ending: &str,
) -> Result<crate::types::Tag, MirrorError> {
    // distribution-spec: at most 64 characters of the hash.
    let hex: String = digest.hex().chars().take(64).collect();
    let text = format!("{}-{hex}{ending}", digest.algorithm().name());
    text.parse()
        .map_err(|e| MirrorError::Internal(format!("{e}")))
}

/// The URL of `Link: <...>; rel="next"`: its path and query at where the answer came from. A list goes on where it began,
/// so no other registry, and no address of this machine, is asked for it.
fn next_page(reply: &Reply) -> Option<String> {
    let parts = reply
        .header("link")?
        .split('<')
        .skip(1)
        .filter_map(|part| part.split_once('>'));
    let (target, _) =
        { parts }.find(|(_, rest)| rest.contains("rel=\"next\"") || rest.contains("rel=next"))?;
    let next = reply.url.join(target).ok()?;
    let mut url = reply.url.clone();
    url.set_path(next.path());
    url.set_query(next.query());
    Some(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_tags() {
        let mut reply = Reply {
            status: 200,
            headers: crate::fetch::header::HeaderMap::new(),
            body: Bytes::new(),
            url: "https://r.example/v2/a/referrers/x".parse().expect("url"),
        };
        assert_eq!(next_page(&reply), None);
        reply.headers.insert(
            "link",
            "</v2/a/referrers/x?last=1>; rel=\"next\""
                .parse()
                .expect("value"),
        );
        assert_eq!(
            next_page(&reply).as_deref(),
            Some("https://r.example/v2/a/referrers/x?last=1")
        );
        for elsewhere in [
            "<http://127.0.0.1/v2/a/referrers/x?last=1>; rel=\"next\"",
            "<//other.example/v2/a/referrers/x?last=1>; rel=next",
        ] {
            let value = elsewhere.parse().expect("value");
            reply.headers.insert("link", value);
            assert_eq!(
                next_page(&reply).as_deref(),
                Some("https://r.example/v2/a/referrers/x?last=1")
            );
        }
        let digest = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(
            fallback_tag(&digest, ".sig").expect("tag").as_str().len(),
            "sha512-.sig".len() + 64
        );
    }
}
