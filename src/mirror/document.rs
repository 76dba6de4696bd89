//! Manifests as far as copying needs them: what they name. Their bytes are kept as they came.

use super::MirrorError;
use crate::types::{Digest, MediaType};
use std::collections::HashMap;
use std::fmt;

/// A descriptor (image-spec, descriptor.md).
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// Its media type; empty if it gives none.
    pub media_type: String,
    /// The digest as written: see [`Descriptor::digest`].
    pub digest: String,
    /// Length in bytes, as claimed.
    pub size: u64,
    /// What an image of an index runs on.
    pub platform: Option<Platform>,
    /// Its annotations.
    pub annotations: HashMap<String, String>,
}

/// A platform (image-spec, image-index.md).
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Operating system, as Go calls it.
    pub os: String,
    /// Processor, as Go calls it.
    pub architecture: String,
    /// Variant of the processor.
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// What a manifest or index says, whichever of the two it is.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// 2 for everything of today.
    pub schema_version: Option<u64>,
    /// Its own media type, where it says one.
    pub media_type: Option<String>,
    /// The manifests of an index.
    pub manifests: Option<Vec<Descriptor>>,
    /// The configuration of an image.
    pub config: Option<Descriptor>,
    /// The layers of an image.
    pub layers: Option<Vec<Descriptor>>,
    /// The blobs of the artifact manifest that OCI withdrew before 1.1.
    pub blobs: Option<Vec<Descriptor>>,
}

impl Descriptor {
    /// The digest, checked.
    pub fn digest(&self) -> Result<Digest, MirrorError> {
        self.digest.parse().map_err(|e| {
            MirrorError::Verify(format!("a descriptor of the source is malformed: {e}"))
        })
    }

    /// A layer that its licence keeps at another place (image-spec, layer.md, "Non-Distributable Layers").
    pub fn is_nondistributable(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }
}

impl Document {
    /// Reads a manifest; `digest` is for the error only.
    pub fn parse(digest: &Digest, bytes: &[u8]) -> Result<Self, MirrorError> {
        serde_json::from_slice(bytes).map_err(|e| {
            MirrorError::Verify(format!("manifest {digest} of the source is malformed: {e}"))
        })
    }

    /// The blobs that a client will ask for.
    pub fn content(&self) -> impl Iterator<Item = &Descriptor> {
        let lists = [self.layers.as_deref(), self.blobs.as_deref()];
        self.config
            .iter()
            .chain(lists.into_iter().flatten().flatten())
    }

    /// The media type: the answer's header, or where that says nothing the document itself.
    pub fn media_type(&self, header: Option<&str>) -> Result<MediaType, MirrorError> {
        let header = header
            .and_then(|h| h.parse::<MediaType>().ok())
            .filter(|h| is_telling(h.as_str()));
        let own = || self.media_type.as_ref().and_then(|m| m.parse().ok());
        let guess = || {
            let kind = if self.manifests.is_some() {
                MediaType::OCI_INDEX
            } else {
                MediaType::OCI_MANIFEST
            };
            kind.parse()
                .map_err(|e| MirrorError::Verify(format!("{e}")))
        };
        header.or_else(own).map_or_else(guess, Ok)
    }
}

/// Generic types are what plain file servers answer with.
fn is_telling(media_type: &str) -> bool {
    !matches!(
        media_type,
        "application/json" | "application/octet-stream" | "text/plain" | "text/html"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        let document: Document = serde_json::from_str(r#"{"manifests": []}"#).expect("valid");
        let of = |d: &Document, h| d.media_type(h).expect("type").as_str().to_owned();
        assert_eq!(of(&document, None), MediaType::OCI_INDEX);
        assert_eq!(
            of(&document, Some("text/plain; charset=utf-8")),
            MediaType::OCI_INDEX
        );
        assert_eq!(
            of(&document, Some(MediaType::DOCKER_LIST)),
            MediaType::DOCKER_LIST
        );
        let own: Document =
            serde_json::from_str(r#"{"mediaType": "application/vnd.x+json"}"#).expect("valid");
        assert_eq!(of(&own, Some("application/json")), "application/vnd.x+json");
    }

    #[test]
    fn layers_kept_elsewhere() {
        let kept = |media_type: &str| Descriptor {
            media_type: media_type.to_owned(),
            ..Descriptor::default()
        };
        assert!(
            kept("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
                .is_nondistributable()
        );
        assert!(
            kept("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").is_nondistributable()
        );
        assert!(!kept("application/vnd.oci.image.layer.v1.tar+gzip").is_nondistributable());
    }
}
