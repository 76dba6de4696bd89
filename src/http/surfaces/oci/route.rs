//! From a raw request path to what is asked for. Paths are split from the right, because repository names have any depth and may
//! hold `blobs`, `manifests`, `tags` and `uploads` as components.
//!
//! Owns the grammar of paths. Must not look at accounts, repositories or bodies.

use crate::http::answer::Fail;
use crate::http::metrics::RequestClass;
use crate::types::{Digest, DigestError, NameError, Reference, RepoName, Tag, UploadId};
use axum::http::StatusCode;
use percent_encoding::percent_decode_str;

/// The registry protocol (distribution-spec, "Endpoints"), parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciRoute {
    /// `/v2/`: is this a registry, and who am I to it.
    Base,
    /// `/v2/auth`: the token service.
    Auth,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/_oci/ext/discover`.
    ExtDiscover,
    /// `/v2/NAME/tags/list`.
    Tags {
        /// The repository.
        name: RepoName,
    },
    /// `/v2/NAME/manifests/TAG-OR-DIGEST`.
    Manifest {
        /// The repository.
        name: RepoName,
        /// Tag or digest.
        reference: Reference,
    },
    /// `/v2/NAME/blobs/DIGEST`.
    Blob {
        /// The repository.
        name: RepoName,
        /// The blob.
        digest: Digest,
    },
    /// `/v2/NAME/blobs/uploads/`.
    Uploads {
        /// The repository.
        name: RepoName,
    },
    /// `/v2/NAME/blobs/uploads/ID`.
    Upload {
        /// The repository.
        name: RepoName,
        /// The session.
        id: UploadId,
    },
    /// `/v2/NAME/referrers/DIGEST`.
    Referrers {
        /// The repository.
        name: RepoName,
        /// The subject.
        digest: Digest,
    },
}

/// Why a path under `/v2` names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not a path of the protocol.
    #[error("this path is not part of the registry protocol")]
    NotFound,
    /// The path does not decode to plain text.
    #[error("the path holds bytes that no name can have")]
    Encoding,
    /// Not a repository name.
    #[error(transparent)]
    Name(NameError),
    /// Neither tag nor digest.
    #[error(transparent)]
    Tag(NameError),
    /// Not a digest.
    #[error(transparent)]
    Digest(DigestError),
    /// Not the id of any upload session.
    #[error("this upload does not exist, was finished or cancelled")]
    Upload,
}

fn below(rest: &str) -> Result<OciRoute, RouteError> {
    if rest.bytes().any(|b| b < 0x20 || b == 0x7f || b == b'\\') {
        return Err(RouteError::Encoding);
    }
    match rest {
        "auth" => return Ok(OciRoute::Auth),
        "_catalog" => return Ok(OciRoute::Catalog),
        "_oci/ext/discover" => return Ok(OciRoute::ExtDiscover),
        _ => {}
    }
    if let Some(name) = rest
        .strip_suffix("/blobs/uploads/")
        .or_else(|| rest.strip_suffix("/blobs/uploads"))
    {
        return Ok(OciRoute::Uploads { name: repo(name)? });
    }
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Ok(OciRoute::Tags { name: repo(name)? });
    }
    let (before, last) = rest.rsplit_once('/').ok_or(RouteError::NotFound)?;
    if let Some(name) = before.strip_suffix("/blobs/uploads") {
        let name = repo(name)?;
        let id = last.parse().map_err(|()| RouteError::Upload)?;
        return Ok(OciRoute::Upload { name, id });
    }
    let (name, word) = before.rsplit_once('/').ok_or(RouteError::NotFound)?;
    match word {
        "manifests" => Ok(OciRoute::Manifest {
            name: repo(name)?,
            reference: reference(last)?,
        }),
        "blobs" => Ok(OciRoute::Blob {
            name: repo(name)?,
            digest: digest(last)?,
        }),
        "referrers" => Ok(OciRoute::Referrers {
            name: repo(name)?,
            digest: digest(last)?,
        }),
        _ => Err(RouteError::NotFound),
    }
}

fn repo(text: &str) -> Result<RepoName, RouteError> {
    text.parse().map_err(RouteError::Name)
}

fn digest(text: &str) -> Result<Digest, RouteError> {
    text.parse().map_err(RouteError::Digest)
}

fn reference(text: &str) -> Result<Reference, RouteError> {
    if text.contains(':') {
        return digest(text).map(Reference::Digest);
    }
    text.parse::<Tag>()
        .map(Reference::Tag)
        .map_err(RouteError::Tag)
}

impl OciRoute {
    /// The route of a raw (still percent-encoded) path below `/v2`.
    ///
    /// # Errors
    /// The path is malformed, or not one of the protocol.
    pub fn parse(raw: &str) -> Result<Self, RouteError> {
        let rest = match raw {
            "/v2" | "/v2/" => return Ok(Self::Base),
            _ => raw.strip_prefix("/v2/").ok_or(RouteError::NotFound)?,
        };
        let text = percent_decode_str(rest)
            .decode_utf8()
            .map_err(|_| RouteError::Encoding)?;
        below(&text)
    }

    /// The class for metrics.
    pub fn class(&self) -> RequestClass {
        match self {
            Self::Base | Self::ExtDiscover => RequestClass::Base,
            Self::Auth => RequestClass::Token,
            Self::Manifest { .. } => RequestClass::Manifest,
            Self::Blob { .. } => RequestClass::Blob,
            Self::Uploads { .. } | Self::Upload { .. } => RequestClass::Upload,
            Self::Tags { .. } | Self::Referrers { .. } | Self::Catalog => RequestClass::List,
        }
    }

    /// The repository that is asked about, if it is about one.
    pub fn name(&self) -> Option<&RepoName> {
        match self {
            Self::Base | Self::Auth | Self::Catalog | Self::ExtDiscover => None,
            Self::Tags { name }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. }
            | Self::Referrers { name, .. } => Some(name),
        }
    }
}

impl From<RouteError> for Fail {
    fn from(error: RouteError) -> Self {
        let text = error.to_string();
        match error {
            RouteError::NotFound => Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", text),
            RouteError::Encoding | RouteError::Name(_) => Self::bad("NAME_INVALID", text),
            RouteError::Tag(_) => Self::bad("MANIFEST_INVALID", text),
            RouteError::Digest(_) => Self::bad("DIGEST_INVALID", text),
            RouteError::Upload => Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ID: &str = "00112233445566778899aabbccddeeff";

    fn parse(path: &str) -> Result<OciRoute, RouteError> {
        OciRoute::parse(path)
    }

    fn name(path: &str) -> String {
        let route = parse(path).expect(path);
        route.name().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn plain_routes() {
        assert_eq!(parse("/v2"), Ok(OciRoute::Base));
        assert_eq!(parse("/v2/"), Ok(OciRoute::Base));
        assert_eq!(parse("/v2/auth"), Ok(OciRoute::Auth));
        assert_eq!(parse("/v2/_catalog"), Ok(OciRoute::Catalog));
    }

    #[test]
    fn names_may_hold_the_words_of_the_protocol() {
        assert_eq!(
            name("/v2/a/blobs/uploads/manifests/latest"),
            "a/blobs/uploads"
        );
        assert_eq!(name("/v2/blobs/uploads/blobs/uploads/"), "blobs/uploads");
        assert_eq!(
            name(&format!("/v2/a/blobs/uploads/b/blobs/uploads/{ID}")),
            "a/blobs/uploads/b"
        );
        assert_eq!(name(&format!("/v2/x/blobs/blobs/{SHA}")), "x/blobs");
        assert_eq!(name("/v2/tags/list/tags/list"), "tags/list");
        assert_eq!(name("/v2/manifests/tags/list"), "manifests");
        assert_eq!(name("/v2/auth/manifests/v1"), "auth");
        assert_eq!(name(&format!("/v2/referrers/referrers/{SHA}")), "referrers");
    }

    #[test]
    fn decoded_once() {
        let encoded = SHA.replace(':', "%3A");
        assert_eq!(name(&format!("/v2/a%2Fb/blobs/{encoded}")), "a/b");
        assert!(matches!(
            parse("/v2/a%252Fb/manifests/x"),
            Err(RouteError::Name(_))
        ));
        assert!(matches!(
            parse("/v2/a/manifests/%00"),
            Err(RouteError::Encoding)
        ));
        assert!(matches!(
            parse("/v2/%ff/manifests/x"),
            Err(RouteError::Encoding)
        ));
        assert!(matches!(
            parse("/v2/a%5Cb/manifests/x"),
            Err(RouteError::Encoding)
        ));
    }

    #[test]
    fn malformed() {
        assert!(matches!(
            parse("/v2/a/../b/manifests/x"),
            Err(RouteError::Name(_))
        ));
        assert!(matches!(
            parse("/v2/UPPER/tags/list"),
            Err(RouteError::Name(_))
        ));
        assert!(matches!(
            parse("/v2/a/blobs/sha256:00"),
            Err(RouteError::Digest(_))
        ));
        assert!(matches!(
            parse("/v2/a/blobs/nonsense"),
            Err(RouteError::Digest(_))
        ));
        assert!(matches!(
            parse("/v2/a/manifests/sha256:zz"),
            Err(RouteError::Digest(_))
        ));
        assert!(matches!(
            parse("/v2/a/manifests/.x"),
            Err(RouteError::Tag(_))
        ));
        assert!(matches!(
            parse("/v2/a/blobs/uploads/xyz"),
            Err(RouteError::Upload)
        ));
        assert!(matches!(parse("/v2/a/b"), Err(RouteError::NotFound)));
        assert!(matches!(parse("/v2/a"), Err(RouteError::NotFound)));
        assert!(matches!(parse("/v2/a/b/c"), Err(RouteError::NotFound)));
    }
}
