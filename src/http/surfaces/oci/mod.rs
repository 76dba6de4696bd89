//! The end points of the distribution spec, one file a resource; each handler is a thin layer over `Repos`.
//!
//! Owns headers and status codes of the protocol. Must not decide what a repository holds or who may do what.

mod asked;
mod blob;
mod catalog;
mod manifest;
mod pulled;
mod referrers;
mod route;
mod tags;
mod token;
mod upload;

pub use route::{OciRoute, RouteError};

use super::{ChallengeKind, Credentials, Surface};
use crate::auth::{Action, Principal};
use crate::http::answer::Fail;
use crate::http::answer::body::{empty, put};
use crate::http::caller::credentials::scope;
use crate::http::log::access::RequestId;
use crate::http::metrics::RequestClass;
use crate::http::request::{Incoming, QueryError, Req};
use crate::repo::Repos;
use crate::types::RepoName;
use crate::upstream::Upstream;
use asked::{Asked, immutable, past_place, writable};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;

/// Most bytes of a list of referrers of these repositories.
pub fn longest_referrers(repos: &Repos) -> usize {
    referrers::longest(repos.referrers_max())
}

/// The digest of what was served or stored.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CATALOG_SCOPE: &str = "registry:catalog:*";

/// A path below `/v2`, malformed or not.
pub struct OciPath(Result<OciRoute, RouteError>);

/// A request of the protocol whose repository is found.
pub struct OciFound {
    route: OciRoute,
    /// What a reading request asks of.
    asked: Option<Asked>,
}

impl Surface for OciPath {
    const CHALLENGE: ChallengeKind = ChallengeKind::Token;
    type Found = OciFound;

    fn parse(path: &str) -> Option<Self> {
        Some(Self(OciRoute::parse(path)))
    }

    fn class(&self) -> RequestClass {
        self.0.as_ref().map_or(RequestClass::Other, OciRoute::class)
    }

    fn action(&self, method: &Method) -> Action {
        let route = self.0.as_ref();
        route.map_or(Action::Ping, |route| action(route, method))
    }

    fn credentials(&self) -> Credentials {
        match self.0 {
            Ok(OciRoute::Auth) => Credentials::Own,
            _ => Credentials::Checked,
        }
    }

    fn scope(&self, method: &Method) -> String {
        let route = self.0.as_ref();
        route.map_or_else(|_| String::new(), |route| challenge_scope(route, method))
    }

    fn too_many(&self, error: QueryError) -> Fail {
        match self.0 {
            Ok(OciRoute::Auth) => token::too_many(error),
            _ => Fail::new(StatusCode::URI_TOO_LONG, "UNSUPPORTED", error.to_string()),
        }
    }

    fn opens_a_file(&self, method: &Method) -> bool {
        let route = self.0.as_ref();
        route.is_ok_and(|route| opens_a_file(route, method))
    }

    async fn resolve(self, req: &Req) -> Result<OciFound, Fail> {
        let route = self.0.map_err(|error| malformed(error, &req.method))?;
        let asked = match route.name() {
            Some(name) if is_read(&route, &req.method) => Some(Asked::of(req, name).await?),
            Some(name) if name.may_be_past() => {
                Box::pin(writable(req, name)).await?;
                None
            }
            _ => None,
        };
        Ok(OciFound { route, asked })
    }

    fn name(found: &OciFound) -> Option<&RepoName> {
        found.route.name()
    }

    async fn answer(
        found: &OciFound,
        req: &mut Req,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Fail> {
        let OciFound { route, asked } = found;
        if *route == OciRoute::Auth {
            return Box::pin(token::answer(req, body)).await;
        }
        match asked {
            Some(asked) => read(req, route, asked).await,
            None => change(req, route, body).await,
        }
    }

    fn refuse(fail: Fail, id: RequestId) -> Response<Body> {
        fail.into_json(id)
    }

    fn mark(headers: &mut HeaderMap) {
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    }
}

/// A path that names nothing. Who only reads a tag that cannot be is told that it is not there.
fn malformed(error: RouteError, method: &Method) -> Fail {
    let reading = matches!(*method, Method::GET | Method::HEAD);
    let tag = matches!(error, RouteError::Tag(_));
    let mut fail = Fail::from(error);
    if reading && tag {
        fail.status = StatusCode::NOT_FOUND;
        fail.code = "MANIFEST_UNKNOWN";
    }
    fail
}

/// The right that a request needs, also its name in the log.
fn action(route: &OciRoute, method: &Method) -> Action {
    match route {
        OciRoute::Base | OciRoute::ExtDiscover => Action::Ping,
        OciRoute::Auth => Action::Token,
        OciRoute::Catalog => Action::Catalog,
        OciRoute::Uploads { .. } | OciRoute::Upload { .. } => Action::RepoPush,
        _ if *method == Method::DELETE => Action::RepoDelete,
        _ if *method == Method::PUT => Action::RepoPush,
        _ => Action::RepoPull,
    }
}

/// Whether a content file may be open while the request is under way.
fn opens_a_file(route: &OciRoute, method: &Method) -> bool {
    match route {
        OciRoute::Blob { .. } => *method == Method::GET,
        OciRoute::Manifest { .. } => matches!(*method, Method::GET | Method::PUT),
        OciRoute::Uploads { .. } | OciRoute::Upload { .. } => true,
        _ => false,
    }
}

/// Whether a request reads a repository, which may then be one of the past.
fn is_read(route: &OciRoute, method: &Method) -> bool {
    let reads = matches!(
        route,
        OciRoute::Tags { .. }
            | OciRoute::Referrers { .. }
            | OciRoute::Manifest { .. }
            | OciRoute::Blob { .. }
    );
    reads && matches!(*method, Method::GET | Method::HEAD)
}

/// The scope that a challenge for this request names; empty where none belongs.
fn challenge_scope(route: &OciRoute, method: &Method) -> String {
    match (route, route.name()) {
        (OciRoute::Catalog, _) => CATALOG_SCOPE.to_owned(),
        (_, Some(name)) => scope(action(route, method), name),
        _ => String::new(),
    }
}

/// Answers a request that reads a repository. Pulls of content are most of what comes, and alone are not boxed.
async fn read(req: &Req, route: &OciRoute, asked: &Asked) -> Result<Response<Body>, Fail> {
    asked.authorize(req).await?;
    if let Some(upstream) = asked.upstream(req) {
        return Box::pin(read_through(req, route, asked, &upstream)).await;
    }
    let mut response = match route {
        OciRoute::Manifest { reference, .. } => manifest::get(req, asked, reference).await?,
        OciRoute::Blob { digest, .. } => blob::get(req, asked, digest).await?,
        OciRoute::Referrers { digest, .. } => Box::pin(referrers::list(req, asked, digest)).await?,
        _ => Box::pin(tags::list(req, asked)).await?,
    };
    asked.tell(req, &mut response);
    Ok(response)
}

/// The same of a repository that belongs to an upstream.
async fn read_through(
    req: &Req,
    route: &OciRoute,
    asked: &Asked,
    upstream: &Arc<Upstream>,
) -> Result<Response<Body>, Fail> {
    let mut response = match route {
        OciRoute::Manifest { reference, .. } => {
            pulled::manifest(req, asked, upstream, reference).await?
        }
        OciRoute::Blob { digest, .. } => pulled::blob(req, asked, upstream, digest).await?,
        OciRoute::Referrers { digest, .. } => {
            pulled::referrers(req, asked, upstream, digest).await?
        }
        _ => pulled::tags(req, asked, upstream).await?,
    };
    asked.tell(req, &mut response);
    Ok(response)
}

/// Answers any other request.
async fn change(req: &Req, route: &OciRoute, body: &mut Incoming) -> Result<Response<Body>, Fail> {
    match (route, &req.method) {
        (OciRoute::Base, _) => base(req),
        (OciRoute::ExtDiscover, _) => Box::pin(discover(req)).await,
        (OciRoute::Catalog, _) => Box::pin(catalog::list(req)).await,
        (OciRoute::Manifest { name, reference }, &Method::PUT) => {
            Box::pin(manifest::put(req, name, reference.clone(), body)).await
        }
        (OciRoute::Manifest { name, reference }, &Method::DELETE) => {
            Box::pin(manifest::delete(req, name, reference)).await
        }
        (OciRoute::Manifest { .. }, _) => Err(Fail::method("GET, HEAD, PUT, DELETE")),
        (OciRoute::Blob { name, digest }, &Method::DELETE) => {
            Box::pin(blob::delete(req, name, digest)).await
        }
        (OciRoute::Blob { .. }, _) => Err(Fail::method("GET, HEAD, DELETE")),
        (OciRoute::Uploads { name }, &Method::POST) => {
            Box::pin(upload::begin(req, name, body)).await
        }
        (OciRoute::Uploads { .. }, _) => Err(Fail::method("POST")),
        (OciRoute::Upload { name, id }, _) => Box::pin(upload::session(req, name, *id, body)).await,
        (OciRoute::Tags { .. } | OciRoute::Referrers { .. } | OciRoute::Auth, _) => {
            Err(Fail::method("GET, HEAD"))
        }
    }
}

fn only_get(req: &Req) -> Result<(), Fail> {
    if matches!(req.method, Method::GET | Method::HEAD) {
        Ok(())
    } else {
        Err(Fail::method("GET, HEAD"))
    }
}

/// `GET /v2/`: 401 with a Bearer challenge to whoever shows nothing, in every mode, because clients choose their scheme
/// from it.
fn base(req: &Req) -> Result<Response<Body>, Fail> {
    only_get(req)?;
    if req.grant.principal == Principal::Anonymous && req.grant.scope.is_none() {
        return Err(req.unauthorized("", None));
    }
    Ok(json("{}".to_owned()))
}

/// The extensions on offer (distribution-spec, extensions): none yet.
async fn discover(req: &Req) -> Result<Response<Body>, Fail> {
    only_get(req)?;
    req.require_server(Action::Ping, "").await?;
    Ok(json(r#"{"extensions":[]}"#.to_owned()))
}

/// 200 with JSON.
fn json(text: String) -> Response<Body> {
    answered("application/json", Body::from(text))
}

/// 200 with a body of this media type.
fn answered(kind: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    put(&mut response, CONTENT_TYPE, kind);
    response
}

/// A `Link` to the next page; the parameters must be encoded already.
fn next_link(path: &str, parameters: &[(&str, String)]) -> String {
    let encode = |v: &str| {
        percent_encoding::utf8_percent_encode(v, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let query: Vec<String> = parameters
        .iter()
        .map(|(k, v)| format!("{k}={}", encode(v)))
        .collect();
    format!("<{path}?{}>; rel=\"next\"", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let link = next_link(
            "/v2/a/tags/list",
            &[("n", "2".into()), ("last", "a+b".into())],
        );
        assert_eq!(link, "</v2/a/tags/list?n=2&last=a%2Bb>; rel=\"next\"");
    }

    #[test]
    fn actions() {
        let tags = OciRoute::Tags {
            name: "a".parse().expect("valid"),
        };
        assert_eq!(action(&tags, &Method::GET), Action::RepoPull);
        assert_eq!(action(&OciRoute::Base, &Method::GET), Action::Ping);
        assert_eq!(challenge_scope(&tags, &Method::GET), "repository:a:pull");
    }
}
