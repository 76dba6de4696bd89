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
    /// A manifest, not a blob.
    pub is_manifest: bool,
    /// May be absent whatever the policy (a layer that must not be distributed).
    pub optional: bool,
    /// Its descriptor's media type.
    pub media_type: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_quotes_is_cut() {
        assert_eq!(FormatError::new("short".into()).to_string(), "short");
        let long = FormatError::new("ä".repeat(4 << 20)).to_string();
        assert_eq!(long.chars().count(), FormatError::MAX + 4);
    }
}
