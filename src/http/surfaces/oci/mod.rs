//! The end points of the distribution spec, one file a resource; each handler is a thin layer over `Repos`.
//!
//! Owns headers and status codes of the protocol. Must not decide what a repository holds or who may do what.

mod blob;
mod catalog;
mod manifest;
mod referrers;
mod tags;
pub mod token;
mod upload;

use crate::auth::{Action, Principal, Resource};
use crate::http::PATIENCE;
use crate::http::answer::Fail;
use crate::http::answer::body::{empty, put};
use crate::http::caller::credentials::scope;
use crate::http::request::{Incoming, Req};
use crate::http::server::limits::Place;
use crate::http::surfaces::route::OciRoute;
use crate::repo::{At, Repos};
use crate::types::{Moment, RepoName};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, Response, StatusCode};

/// Most bytes of a list of referrers of these repositories.
pub fn longest_referrers(repos: &Repos) -> usize {
    referrers::longest(repos.referrers_max())
}

/// The digest of what was served or stored.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");

/// The right that a request needs, also its name in the log.
pub fn action(route: &OciRoute, method: &Method) -> Action {
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
pub fn opens_a_file(route: &OciRoute, method: &Method) -> bool {
    match route {
        OciRoute::Blob { .. } => *method == Method::GET,
        OciRoute::Manifest { .. } => matches!(*method, Method::GET | Method::PUT),
        OciRoute::Uploads { .. } | OciRoute::Upload { .. } => true,
        _ => false,
    }
}

/// The scope that a challenge for this request names; empty where none belongs.
pub fn challenge_scope(route: &OciRoute, method: &Method) -> String {
    match (route, route.name()) {
        (OciRoute::Catalog, _) => CATALOG_SCOPE.to_owned(),
        (_, Some(name)) => scope(action(route, method), name),
        _ => String::new(),
    }
}

const CATALOG_SCOPE: &str = "registry:catalog:*";

/// Answers a request of the protocol. All but the pulls of content is boxed: a request has room for the largest of what is not,
/// also while thousands wait for their turn, and pulls are most of what comes.
pub async fn answer(
    req: &mut Req,
    route: OciRoute,
    body: &mut Incoming,
) -> Result<Response<Body>, Fail> {
    if route == OciRoute::Auth {
        return Box::pin(token::answer(req, body)).await;
    }
    let req = &*req;
    if let Some(name) = route.name().filter(|name| name.may_be_past())
        && !matches!(req.method, Method::GET | Method::HEAD)
    {
        Box::pin(writable(req, name)).await?;
    }
    match route {
        OciRoute::Base => base(req),
        OciRoute::Auth => Err(Fail::internal("the token service was passed by")),
        OciRoute::ExtDiscover => Box::pin(discover(req)).await,
        OciRoute::Catalog => Box::pin(catalog::list(req)).await,
        OciRoute::Tags { name } => {
            Box::pin(reading(req, name, async |asked| {
                tags::list(req, asked).await
            }))
            .await
        }
        OciRoute::Referrers { name, digest } => {
            let list = async |asked: &Asked| referrers::list(req, asked, &digest).await;
            Box::pin(reading(req, name, list)).await
        }
        OciRoute::Manifest { name, reference } => match req.method {
            Method::GET | Method::HEAD => {
                reading(req, name, async |asked| {
                    manifest::get(req, asked, &reference).await
                })
                .await
            }
            Method::PUT => Box::pin(manifest::put(req, &name, reference, body)).await,
            Method::DELETE => Box::pin(manifest::delete(req, &name, &reference)).await,
            _ => Err(Fail::method("GET, HEAD, PUT, DELETE")),
        },
        OciRoute::Blob { name, digest } => match req.method {
            Method::GET | Method::HEAD => {
                reading(req, name, async |asked| {
                    blob::get(req, asked, &digest).await
                })
                .await
            }
            Method::DELETE => Box::pin(blob::delete(req, &name, &digest)).await,
            _ => Err(Fail::method("GET, HEAD, DELETE")),
        },
        OciRoute::Uploads { name } => match req.method {
            Method::POST => Box::pin(upload::begin(req, &name, body)).await,
            _ => Err(Fail::method("POST")),
        },
        OciRoute::Upload { name, id } => Box::pin(upload::session(req, &name, id, body)).await,
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

/// Runs a reading handler on the repository that is meant: `?ns=HOST` (distribution-spec, "Registry Proxying") means
/// `HOST/NAME` if that exists and may be read, else `NAME`.
async fn reading(
    req: &Req,
    name: RepoName,
    handler: impl AsyncFnOnce(&Asked) -> Result<Response<Body>, Fail>,
) -> Result<Response<Body>, Fail> {
    only_get(req)?;
    if let Some(meant) = req.meant(&name).await? {
        let asked = Asked {
            url: name,
            name: meant.name,
            at: meant.at,
        };
        let auth = &req.state.app.auth;
        let resource = asked.resource();
        if !auth
            .authorize(&req.grant, Action::RepoPull, resource)
            .await?
        {
            Box::pin(req.require(Action::RepoPull, &asked.url)).await?;
        }
        return handler(&asked).await;
    }
    let Some(ns) = req.query.get("ns").filter(|ns| !ns.is_empty()) else {
        req.require(Action::RepoPull, &name).await?;
        return handler(&Asked::now(name)).await;
    };
    if let Some(there) = namespaced(ns, &name)
        && req.state.app.repos.exists(&there).await?
        && req.user_may(Action::RepoPull, &there).await?
    {
        if !req.may(Action::RepoPull, &there).await? {
            return Err(with_scopes(req, &there, &name));
        }
        let mut response = handler(&Asked::now(there)).await?;
        put(&mut response, NAMESPACE, ns);
        return Ok(response);
    }
    match req.require(Action::RepoPull, &name).await {
        Err(fail) if fail.status == StatusCode::UNAUTHORIZED => match namespaced(ns, &name) {
            Some(there) => Err(with_scopes(req, &there, &name)),
            None => Err(fail),
        },
        Err(fail) => Err(fail),
        Ok(()) => handler(&Asked::now(name)).await,
    }
}

/// What a reading request asks of.
struct Asked {
    /// The name in the URL.
    url: RepoName,
    /// The repository that it means.
    name: RepoName,
    /// As of when.
    at: At,
}

impl Asked {
    /// A repository as it is now.
    fn now(name: RepoName) -> Self {
        Self {
            url: name.clone(),
            name,
            at: At::Head,
        }
    }

    /// What rights on it are asked on.
    fn resource(&self) -> Resource<'_> {
        if self.at == At::Head {
            return Resource::Repo(&self.url);
        }
        Resource::Past {
            now: &self.name,
            asked: &self.url,
        }
    }
}

/// Refuses to write to a name of the past, and to one that would become one as soon as there is such a snapshot. What lies
/// there from before is an ordinary repository.
async fn writable(req: &Req, name: &RepoName) -> Result<(), Fail> {
    let Some((moment, now)) = name.moment() else {
        return Ok(());
    };
    let denied = |text| Err(Fail::new(StatusCode::FORBIDDEN, "DENIED", text));
    if req.meant(name).await?.is_some() {
        return denied(format!(
            "this name means the past, which nobody can change; write to {now}"
        ));
    }
    if let Moment::Snapshot(title) = moment
        && !req.state.app.repos.exists(name).await?
    {
        return denied(format!(
            "this name would mean the snapshot {title} of {now} as soon as there is one; write to another name"
        ));
    }
    Ok(())
}

/// A place among the reads of the past of this client, for those that take more than a seek; none for a repository as it is
/// now. To be held until what was asked for is known, not until it is sent.
async fn past_place(req: &Req, asked: &Asked) -> Result<Option<Place>, Fail> {
    let Some(client) = req.counted().filter(|_| asked.at != At::Head) else {
        return Ok(None);
    };
    let words = ("reads of the past", "try again when they are done");
    let place = req.state.past.take(&client, PATIENCE, words);
    place.await.map(Some)
}

/// A challenge for both readings of a name, as the client cannot know which of them holds.
fn with_scopes(req: &Req, there: &RepoName, name: &RepoName) -> Fail {
    let both = format!(
        "{} {}",
        scope(Action::RepoPull, there),
        scope(Action::RepoPull, name)
    );
    let error = req.grant.scope.is_some().then_some("insufficient_scope");
    let mut fail = req.unauthorized(&both, error);
    fail.headers
        .retain(|(header, _)| *header == WWW_AUTHENTICATE);
    fail
}

/// `HOST/NAME`, as the mirror names repositories: `docker.io` has its one-component names under `library/`, and the
/// colon of a port is a dash.
fn namespaced(ns: &str, name: &RepoName) -> Option<RepoName> {
    let host = ns.to_ascii_lowercase().replace(':', "-");
    let library = if host == "docker.io" && !name.as_str().contains('/') {
        "library/"
    } else {
        ""
    };
    format!("{host}/{library}{name}").parse().ok()
}

/// How long an answer about a digest holds: for ever. Caches that others share may keep it only where everybody may read
/// it: they would give it to anybody who asks (RFC 9111 section 3.5).
async fn immutable(req: &Req, asked: &Asked) -> Result<HeaderValue, Fail> {
    let open = if asked.at == At::Head {
        req.anybody_may(Action::RepoPull, &asked.url).await?
    } else {
        let auth = &req.state.app.auth;
        auth.authorize_user(&Principal::Anonymous, Action::RepoPull, asked.resource())
            .await?
    };
    Ok(HeaderValue::from_static(if open {
        "public, max-age=31536000, immutable"
    } else {
        "private, max-age=31536000, immutable"
    }))
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
    fn namespaces() {
        let name = |text: &str| text.parse::<RepoName>().expect("valid");
        let of = |ns, n: &str| namespaced(ns, &name(n)).map(|r| r.to_string());
        assert_eq!(
            of("docker.io", "alpine").as_deref(),
            Some("docker.io/library/alpine")
        );
        assert_eq!(of("docker.io", "a/b").as_deref(), Some("docker.io/a/b"));
        assert_eq!(of("quay.io", "x").as_deref(), Some("quay.io/x"));
        assert_eq!(
            of("localhost:5000", "x").as_deref(),
            Some("localhost-5000/x")
        );
        assert_eq!(of("../..", "x"), None);
    }

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
