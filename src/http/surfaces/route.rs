//! From a raw request path to what is asked for. Registry paths are split from the right, because repository names
//! have any depth and may hold `blobs`, `manifests`, `tags` and `uploads` as components.
//!
//! Owns the grammar of paths. Must not look at accounts, repositories or bodies.

use crate::types::{Digest, DigestError, NameError, Reference, RepoName, Tag, UploadId};
use percent_encoding::percent_decode_str;

/// Everything this server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/`: one line that says what this is.
    Root,
    /// `/healthz`, `/livez`: the process runs.
    Live,
    /// `/readyz`: the store can be read.
    Ready,
    /// `/metrics`.
    Metrics,
    /// `/v1/_ping`, which old clients use to find out whether a registry is there.
    V1Ping,
    /// Any other `/v1` path.
    V1,
    /// The registry protocol.
    Oci(OciRoute),
    /// Below `/r/`: repositories that are no registries.
    Tree(TreeRoute),
    /// Nothing that is served here.
    Unknown,
}

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

/// A path below `/r/`, decoded once; which repository it names is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRoute {
    /// The path; `None` if it holds bytes that no name can have.
    pub path: Option<String>,
    /// What follows its last `/`, as it came.
    pub last: String,
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

/// The coarse kind of a route, for metrics: few values, whatever clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `/v2/`, discovery.
    Base,
    /// The token service.
    Token,
    /// Manifests.
    Manifest,
    /// Blobs.
    Blob,
    /// Upload sessions.
    Upload,
    /// Tags, referrers, catalog.
    List,
    /// Repositories that are no registries.
    Tree,
    /// Health, metrics and everything else.
    Other,
}

impl Class {
    /// Every class, in the order of its number.
    pub const ALL: [Self; 8] = [
        Self::Base,
        Self::Token,
        Self::Manifest,
        Self::Blob,
        Self::Upload,
        Self::List,
        Self::Tree,
        Self::Other,
    ];

    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Token => "token",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Upload => "upload",
            Self::List => "list",
            Self::Tree => "tree",
            Self::Other => "other",
        }
    }
}

/// The route of a raw (still percent-encoded) path. An error means: under `/v2`, and malformed.
pub fn parse(raw: &str) -> Result<Route, RouteError> {
    match raw {
        "/" => return Ok(Route::Root),
        "/healthz" | "/livez" => return Ok(Route::Live),
        "/readyz" => return Ok(Route::Ready),
        "/metrics" => return Ok(Route::Metrics),
        "/v1/_ping" => return Ok(Route::V1Ping),
        "/v2" | "/v2/" => return Ok(Route::Oci(OciRoute::Base)),
        _ => {}
    }
    if raw == "/v1" || raw.starts_with("/v1/") {
        return Ok(Route::V1);
    }
    if let Some(rest) = raw.strip_prefix("/r/") {
        return Ok(Route::Tree(tree(rest)));
    }
    match raw.strip_prefix("/v2/") {
        Some(rest) => {
            let text = percent_decode_str(rest)
                .decode_utf8()
                .map_err(|_| RouteError::Encoding)?;
            oci(&text).map(Route::Oci)
        }
        None => Ok(Route::Unknown),
    }
}

fn tree(rest: &str) -> TreeRoute {
    let path = percent_decode_str(rest).decode_utf8().ok();
    let path = path.filter(|path| !path.bytes().any(|b| b < 0x20 || b == 0x7f));
    let last = rest.rsplit('/').next().unwrap_or(rest);
    TreeRoute {
        path: path.map(Into::into),
        last: last.to_owned(),
    }
}

fn oci(rest: &str) -> Result<OciRoute, RouteError> {
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

impl Route {
    /// The class for metrics.
    pub fn class(&self) -> Class {
        let oci = match self {
            Self::Oci(oci) => oci,
            Self::Tree(_) => return Class::Tree,
            _ => return Class::Other,
        };
        match oci {
            OciRoute::Base | OciRoute::ExtDiscover => Class::Base,
            OciRoute::Auth => Class::Token,
            OciRoute::Manifest { .. } => Class::Manifest,
            OciRoute::Blob { .. } => Class::Blob,
            OciRoute::Uploads { .. } | OciRoute::Upload { .. } => Class::Upload,
            OciRoute::Tags { .. } | OciRoute::Referrers { .. } | OciRoute::Catalog => Class::List,
        }
    }
}

impl OciRoute {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ID: &str = "00112233445566778899aabbccddeeff";

    fn get(path: &str) -> OciRoute {
        match parse(path) {
            Ok(Route::Oci(route)) => route,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn name(path: &str) -> String {
        get(path)
            .name()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    #[test]
    fn plain_routes() {
        assert_eq!(parse("/healthz"), Ok(Route::Live));
        assert_eq!(parse("/v1/_ping"), Ok(Route::V1Ping));
        assert_eq!(parse("/v1/search"), Ok(Route::V1));
        assert_eq!(parse("/v3/"), Ok(Route::Unknown));
        assert_eq!(get("/v2"), OciRoute::Base);
        assert_eq!(get("/v2/"), OciRoute::Base);
        assert_eq!(get("/v2/auth"), OciRoute::Auth);
        assert_eq!(get("/v2/_catalog"), OciRoute::Catalog);
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
    fn paths_below_r() {
        let tree = |path: &str| match parse(path) {
            Ok(Route::Tree(route)) => (route.path, route.last),
            other => panic!("{path}: {other:?}"),
        };
        let of = |path: &str, last: &str| (Some(path.to_owned()), last.to_owned());
        assert_eq!(tree("/r/"), of("", ""));
        assert_eq!(tree("/r/files"), of("files", "files"));
        assert_eq!(tree("/r/a%2Fb%20c/d/"), of("a/b c/d/", ""));
        assert_eq!(tree("/r/a/g%2b%2B+x~1"), of("a/g+++x~1", "g%2b%2B+x~1"));
        assert_eq!(tree("/r/a/%252f"), of("a/%2f", "%252f"));
        for odd in ["/r/%ff", "/r/a/%00", "/r/a%0a", "/r/a/%7f"] {
            assert_eq!(tree(odd).0, None, "{odd}");
        }
        assert_eq!(parse("/r"), Ok(Route::Unknown));
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
