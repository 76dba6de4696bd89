//! Media types (RFC 6838 section 4.2): kept as they came, without parameters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A media type `type/subtype` without parameters, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Arc<str>);

/// The text is no media type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a media type of the form type/subtype")]
pub struct MediaTypeError(String);

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &'static str =
        "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list, schema 2.
    pub const DOCKER_LIST: &'static str =
        "application/vnd.docker.distribution.manifest.list.v2+json";

    /// The four types of manifests that clients know.
    pub const MANIFESTS: [&'static str; 4] = [
        Self::OCI_MANIFEST,
        Self::OCI_INDEX,
        Self::DOCKER_MANIFEST,
        Self::DOCKER_LIST,
    ];

    /// The same type in lower case, in which all registered ones are written: types are compared without case (RFC 6838
    /// section 4.2).
    #[must_use]
    pub fn lower(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }

    /// The text, as it came but for parameters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+%*'`|~".contains(&b))
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.split_once('/') {
            Some((a, b)) if is_token(a) && is_token(b) && essence.len() <= 255 => {
                Ok(Self(essence.into()))
            }
            _ => Err(MediaTypeError(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let plain: MediaType = "application/json; charset=utf-8".parse().expect("valid");
        assert_eq!(plain.as_str(), "application/json");
        let upper: MediaType = "Application/JSON".parse().expect("valid");
        assert!(upper != plain && upper.lower() == plain);
        for bad in [
            "",
            "application",
            "/json",
            "application/",
            "a b/c",
            "a/b c",
            "a/b/c",
        ] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad}");
        }
    }
}
