//! Repositories that are no registries, under `/r/NAME/PATH` and `/r/NAME@REF/PATH`: one file a resource; each handler is a
//! thin layer over `Repos`.
//!
//! Owns headers, status codes and pages of this surface. Names no format. Must not decide what a repository holds or who may do
//! what.

mod conditions;
mod digests;
mod file;
mod folder;
mod listing;
mod media;
mod part;
mod put;
mod route;
mod sums;

pub use conditions::unchanged;
pub use digests::{ClaimedDigests, repr as repr_digest};
pub use listing::PageForm;
pub use part::parse as part_range;
pub use route::TreeRoute;

use super::{ChallengeKind, Surface};
use crate::auth::{Action, Principal};
use crate::http::PATIENCE;
use crate::http::answer::Fail;
use crate::http::log::access::RequestId;
use crate::http::metrics::RequestClass;
use crate::http::request::{Incoming, Req};
use crate::http::server::limits::ClientPlace;
use crate::repo::{At, RepoError, Tree};
use crate::types::{Kind, RepoName, Title, moment};
use axum::body::Body;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, Response, StatusCode};

/// What a request is about, once its path is known to name a repository.
pub struct TreeFound {
    /// The repository, as of when, and the rest of the path.
    pub tree: Tree,
    /// The last piece of the path as it came, still encoded: what a relative link starts from.
    pub last: String,
}

impl Surface for TreeRoute {
    const CHALLENGE: ChallengeKind = ChallengeKind::Password;
    type Found = TreeFound;

    fn parse(path: &str) -> Option<Self> {
        Self::parse(path)
    }

    fn class(&self) -> RequestClass {
        RequestClass::Tree
    }

    fn action(&self, method: &Method) -> Action {
        action(method)
    }

    fn opens_a_file(&self, method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD | Method::PUT)
    }

    /// The repository that the path names. One that may not be seen is refused in the same words when it is asked for.
    async fn resolve(self, req: &Req) -> Result<TreeFound, Fail> {
        let Self { path, last } = self;
        let Some(path) = path else {
            let text = "the path holds bytes that no name can have";
            return Err(Fail::bad("NAME_INVALID", text));
        };
        match req.state.app.repos.tree(&path) {
            Some(tree) => Ok(TreeFound { tree, last }),
            None => Err(nowhere(req, &path).await?),
        }
    }

    fn name(found: &TreeFound) -> Option<&RepoName> {
        Some(&found.tree.name)
    }

    async fn answer(
        found: &TreeFound,
        req: &mut Req,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Fail> {
        handle(req, found, body).await
    }

    fn refuse(fail: Fail, id: RequestId) -> Response<Body> {
        fail.into_text(id)
    }
}

/// The right that a request needs, also its name in the log.
fn action(method: &Method) -> Action {
    match *method {
        Method::PUT => Action::RepoPush,
        Method::DELETE => Action::RepoDelete,
        _ => Action::RepoPull,
    }
}

/// Answers a request. All but reading a file is boxed: see the other surfaces.
async fn handle(req: &Req, found: &TreeFound, body: &mut Incoming) -> Result<Response<Body>, Fail> {
    let tree = &found.tree;
    let wanted = action(&req.method);
    let allowed = req.require(wanted, &tree.name).await;
    allowed.map_err(|fail| match fail.status {
        StatusCode::NOT_FOUND => unknown().for_want_of_a_right(),
        _ => fail,
    })?;
    let reads = matches!(req.method, Method::GET | Method::HEAD);
    if !reads && tree.at != At::Head {
        let text = format!(
            "this path means the past, which nobody can change; write to /r/{}/",
            tree.name
        );
        let fail = Fail::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", text);
        return Err(fail.with(ALLOW, "GET, HEAD"));
    }
    let done = match req.method {
        Method::GET | Method::HEAD => {
            if tree.is_bare {
                return Ok(folder::with_slash(req, found));
            }
            if tree.path.is_empty() || tree.path.ends_with('/') {
                Box::pin(folder::list(req, tree)).await
            } else {
                match file::get(req, tree).await {
                    Ok(None) => Box::pin(no_file(req, found)).await,
                    Ok(Some(response)) => Ok(response),
                    Err(fail) => Err(fail),
                }
            }
        }
        Method::PUT => Box::pin(put::put(req, tree, body)).await,
        Method::DELETE => Box::pin(put::delete(req, tree)).await,
        _ => Err(Fail::method("GET, HEAD, PUT, DELETE")),
    };
    done.map_err(|fail| gone(tree, fail))
}

/// Where no file is there may be a folder, or the sums of one.
async fn no_file(req: &Req, found: &TreeFound) -> Result<Response<Body>, Fail> {
    let tree = &found.tree;
    if let Some(folder) = sums::folder_of(&tree.path) {
        return sums::get(req, tree, folder).await;
    }
    if folder::is_there(req, tree).await? {
        return Ok(folder::with_slash(req, found));
    }
    Err(RepoError::PathUnknown(tree.path.clone()).into())
}

/// A repository that was deleted while the request was under way is as unknown as any other.
fn gone(tree: &Tree, fail: Fail) -> Fail {
    // Of the past it is the snapshot that may be missing.
    if tree.at == At::Head && fail.code == "NAME_UNKNOWN" {
        return unknown();
    }
    fail
}

/// The refusal of a path that names no repository of this surface.
async fn nowhere(req: &Req, path: &str) -> Result<Fail, Fail> {
    let wanted = action(&req.method);
    let first = path.split('/').next().unwrap_or_default();
    // Whoever shows nothing is asked for credentials wherever those could help, whether or not there is a repository.
    if let Ok(name) = first.parse::<RepoName>()
        && req.grant.principal == Principal::Anonymous
        && !req.anybody_may(wanted, &name).await?
    {
        return Ok(req.unauthorized("", None));
    }
    if wanted == Action::RepoPush
        && let Some((name, kind)) = req.state.app.repos.no_tree(path).await?
        && req.may(wanted, &name).await?
    {
        let other = RepoError::OtherKind {
            name,
            is: kind,
            wanted: Kind::File,
        };
        return Ok(other.into());
    }
    Ok(unknown())
}

/// 404 for a repository that is not there, or that may not be seen: the two must not differ.
fn unknown() -> Fail {
    let text = "no repository of files that you may use has a name that this path begins with; whoever runs this server makes one with: \
                dryport repo create NAME --kind file";
    Fail::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", text)
}

/// A place among the reads of the past of this client; `None` for what is there now. To be held until what was asked for is
/// known, not until it is sent.
async fn past_place(req: &Req, tree: &Tree) -> Result<Option<ClientPlace>, Fail> {
    let Some(client) = req.counted().filter(|_| tree.at != At::Head) else {
        return Ok(None);
    };
    let words = ("reads of the past", "try again when they are done");
    let place = req.state.past.take(&client, PATIENCE, words);
    place.await.map(Some)
}

/// How long an answer holds: what a path means now may be another thing with the next request; a revision and a snapshot stay
/// what they are, but for a title that is given again. Caches that others share may keep it only where everybody may read it.
async fn holds(req: &Req, tree: &Tree) -> Result<HeaderValue, Fail> {
    let open = req.anybody_may(Action::RepoPull, &tree.name).await?;
    let stays = match &tree.at {
        // A time may lie ahead.
        At::Named(text) => Title::revision(text).is_some() || moment::parse(text).is_none(),
        At::Head | At::Time(_) => false,
    };
    Ok(HeaderValue::from_static(match (stays, open) {
        (false, true) => "no-cache",
        (false, false) => "private, no-cache",
        (true, true) => "public, max-age=300",
        (true, false) => "private, max-age=300",
    }))
}
