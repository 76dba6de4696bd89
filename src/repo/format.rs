//! What a format tells the repository about an item's bytes. Declared here, implemented in `formats`.

use crate::types::{Digest, MediaType};
use serde_json::value::RawValue;

/// Annotations of more bytes than this are long: keys and values, and 8 for each pair.
pub const ANNOTATIONS_MAX: usize = 8 << 10;

/// Reads one kind of content; knows neither store nor network.
pub trait Format: Send + Sync {
    /// What these bytes are and what they name. `declared` is the media type that came with them.
    fn inspect(&self, bytes: &[u8], declared: Option<&MediaType>)
    -> Result<Inspected, FormatError>;

    /// All annotations, however long, as the JSON object that they are in these bytes; none if it has none that can be read.
    fn annotations(&self, bytes: &[u8]) -> Option<Box<RawValue>>;
}

/// The bytes are not of the format; the text says why, for the person who pushed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(String);

impl FormatError {
    /// Most characters that are kept of a text: it may quote what was pushed.
    const MAX: usize = 300;

    /// An error with this text, cut where it is long.
    pub fn new(text: String) -> Self {
        match text.char_indices().nth(Self::MAX) {
            Some((end, _)) => Self(format!("{} ...", &text[..end])),
            None => Self(text),
        }
    }
}

/// A manifest, as far as the repository needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The media type to serve it with.
    pub media_type: MediaType,
    /// What it names, each digest once.
    pub children: Vec<Child>,
    /// The manifest that it refers to.
    pub subject: Option<Digest>,
    /// What a referrers list shows as its artifact type; empty if it has none.
    pub artifact_type: String,
    /// Its annotations, in the order of their keys; `None` if they are long ([`ANNOTATIONS_MAX`]), or if it has no subject
    /// and so stands in no referrers list.
    pub annotations: Option<Vec<(String, String)>>,
}

/// One digest that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The digest.
    pub digest: Digest,
    /// The length that its descriptor gives.
    pub size: u64,
    /// It stands in a list of manifests.
    pub is_listed: bool,
    /// What its descriptor says that it is.
    pub said: Said,
    /// May be absent whatever the policy (a layer that must not be distributed).
    pub optional: bool,
    /// Its descriptor's media type.
    pub media_type: String,
}

/// What a descriptor says that its digest is. A hint for those who ask another registry, or tell what is missing: how a
/// digest is kept and shown is decided by what the repository has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A manifest or an index: the media type says so.
    Manifest,
    /// A blob.
    Blob,
    /// It stands among manifests, and its media type tells nothing.
    Unknown,
}

impl Said {
    /// What a descriptor of this media type says, which stands in a list of manifests (`is_listed`) or elsewhere. The cache of
    /// buildkit lists layers and a configuration in an index, own types list manifests among their layers: the media type
    /// counts, where it is a known one.
    pub fn of(media_type: &str, is_listed: bool) -> Self {
        let text = media_type.split(';').next().unwrap_or_default();
        let text = text.trim().to_ascii_lowercase();
        if MediaType::MANIFESTS.contains(&text.as_str()) {
            return Self::Manifest;
        }
        let may_be_one = text.is_empty()
            || (text.starts_with("application/vnd.")
                && text.ends_with("+json")
                && !text.contains(".config."));
        if is_listed && may_be_one {
            Self::Unknown
        } else {
            Self::Blob
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_says_what_a_descriptor_names() {
        for (is_listed, media_type, want) in [
            (true, "", Said::Unknown),
            (true, "application/vnd.acme.thing.v1+json", Said::Unknown),
            (
                true,
                "Application/vnd.OCI.image.manifest.v1+json",
                Said::Manifest,
            ),
            (
                true,
                "application/vnd.oci.image.layer.v1.tar+gzip",
                Said::Blob,
            ),
            (true, "application/vnd.buildkit.cacheconfig.v0", Said::Blob),
            (true, "application/vnd.oci.image.config.v1+json", Said::Blob),
            (true, "text/plain", Said::Blob),
            (false, MediaType::OCI_INDEX, Said::Manifest),
            (
                false,
                "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
                Said::Manifest,
            ),
            (false, "application/vnd.acme.thing.v1+json", Said::Blob),
            (false, "", Said::Blob),
        ] {
            assert_eq!(
                Said::of(media_type, is_listed),
                want,
                "{media_type} {is_listed}"
            );
        }
    }

    #[test]
    fn what_an_error_quotes_is_cut() {
        assert_eq!(FormatError::new("short".into()).to_string(), "short");
        let long = FormatError::new("ä".repeat(4 << 20)).to_string();
        assert_eq!(long.chars().count(), FormatError::MAX + 4);
    }
}
