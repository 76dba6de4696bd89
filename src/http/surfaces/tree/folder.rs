//! Folders: the way to the name with a slash, and what lies in one: a page of it, or for people all, piece by piece.

use super::listing::{FolderListing, PageForm};
use super::{TreeFound, holds, past_place};
use crate::http::answer::Fail;
use crate::http::answer::body::{self, put};
use crate::http::request::Req;
use crate::http::server::limits::long_lists::ListLeave;
use crate::repo::{FolderPage, RepoError, Repos, Tree};
use crate::types::PageRequest;
use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LINK, LOCATION, VARY,
};
use axum::http::{HeaderValue, Response, StatusCode};
use futures_util::stream::try_unfold;

/// So many entries are read before leave is asked for: with names of a usual length they are a short list.
const FEW: usize = 100;

/// What a browser lets a listing do: show itself.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// 301 to the same path with a slash, said from where the client is: it holds behind any proxy.
pub fn with_slash(req: &Req, found: &TreeFound) -> Response<Body> {
    let mut response = body::empty(StatusCode::MOVED_PERMANENTLY);
    let query = req.query.encoded();
    put(
        &mut response,
        LOCATION,
        &format!("./{}/{query}", found.last),
    );
    // A file may take the name of a folder that has gone.
    put(&mut response, CACHE_CONTROL, "no-cache");
    response
}

/// Whether the path with a slash is a folder.
pub async fn is_there(req: &Req, tree: &Tree) -> Result<bool, Fail> {
    let _place = past_place(req, tree).await?;
    let folder = Tree {
        path: format!("{}/", tree.path),
        ..tree.clone()
    };
    let page = PageRequest {
        n: Some(1),
        last: None,
    };
    match req.state.app.repos.folder(&folder, &page).await {
        Ok(_) => Ok(true),
        Err(RepoError::PathUnknown(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One page of a folder; all of it in HTML, unless a page is asked for: programs that read links follow none to a next page.
pub async fn list(req: &Req, tree: &Tree) -> Result<Response<Body>, Fail> {
    let page = PageRequest::parse(req.query.get("n"), req.query.get("last"))
        .map_err(|e| Fail::bad("UNSUPPORTED", e.to_string()))?;
    if page.n == Some(0) {
        return Err(Fail::bad("UNSUPPORTED", "a page has at least one entry"));
    }
    let form = PageForm::wanted(req.header("accept"));
    if form == PageForm::Html && page == PageRequest::default() {
        let body = whole(req, tree).await?;
        return described(req, tree, form, body).await;
    }
    let limit = page.limit();
    let (listing, leave) = fill(req, tree, (form, limit), page.last).await?;
    let next = listing.next().map(|last| {
        let last = super::listing::encode(last);
        format!("?n={limit}&last={last}")
    });
    let body = leave.body(listing.done(next.as_deref()));
    let mut response = described(req, tree, form, body).await?;
    if let Some(next) = next {
        put(&mut response, LINK, &format!("<{next}>; rel=\"next\""));
    }
    Ok(response)
}

async fn described(
    req: &Req,
    tree: &Tree,
    form: PageForm,
    body: Body,
) -> Result<Response<Body>, Fail> {
    let mut response = Response::new(body);
    put(&mut response, CONTENT_TYPE, form.media_type());
    let headers = response.headers_mut();
    headers.insert(VARY, ACCEPT.into());
    headers.insert(CACHE_CONTROL, holds(req, tree).await?);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    Ok(response)
}

/// All of a folder in HTML. What is more than a short list is read while it is sent, so that little of it is in memory: each
/// piece is as of then, and a name that stays while it is sent is in it once.
async fn whole(req: &Req, tree: &Tree) -> Result<Body, Fail> {
    let place = past_place(req, tree).await?;
    let repos = req.state.app.repos.clone();
    let first = repos.folder(tree, &after(None)).await?;
    drop(place);
    let mut listing = FolderListing::in_pieces(tree);
    listing.add(&first);
    if listing.next().is_none() {
        return Ok(Body::from(listing.done(None)));
    }
    let begin = (repos, tree.clone(), Some(listing));
    Ok(Body::from_stream(try_unfold(
        begin,
        async |(repos, tree, listing)| {
            let Some(mut listing) = listing else {
                return Ok::<_, RepoError>(None);
            };
            loop {
                if let Some(piece) = listing.piece() {
                    return Ok(Some((Bytes::from(piece), (repos, tree, Some(listing)))));
                }
                let Some(last) = listing.next().map(str::to_owned) else {
                    let end = Bytes::from(listing.done(None));
                    return Ok(Some((end, (repos, tree, None))));
                };
                listing.add(&next_page(&repos, &tree, &after(Some(last))).await?);
            }
        },
    )))
}

/// How often a page that others keep waiting for is asked for again: an answer that has begun cannot say so any more.
const TRIES: usize = 6;

/// A page of what is being sent.
pub(super) async fn next_page(
    repos: &Repos,
    tree: &Tree,
    page: &PageRequest,
) -> Result<FolderPage, RepoError> {
    for _ in 1..TRIES {
        match repos.folder(tree, page).await {
            Err(RepoError::Crowded) => {}
            found => return found,
        }
    }
    repos.folder(tree, page).await
}

fn after(last: Option<String>) -> PageRequest {
    PageRequest { n: Some(FEW), last }
}

/// A page of at most so many entries behind `last`, and the leave that a long one needs.
async fn fill(
    req: &Req,
    tree: &Tree,
    (form, limit): (PageForm, usize),
    mut last: Option<String>,
) -> Result<(FolderListing, ListLeave), Fail> {
    let _place = past_place(req, tree).await?;
    let mut listing = FolderListing::begin(form, tree);
    let mut leave = None;
    loop {
        let most = if leave.is_none() { FEW } else { limit };
        let n = most.min(limit - listing.len());
        let part = PageRequest {
            n: Some(n),
            last: last.take(),
        };
        let part = req.state.app.repos.folder(tree, &part).await?;
        let is_short = part.entries.len() < n;
        let is_full = !listing.add(&part);
        let Some(next) = listing.next().filter(|_| !is_full && !is_short) else {
            break;
        };
        if listing.len() >= limit {
            break;
        }
        last = Some(next.to_owned());
        if leave.is_none() {
            let most = FolderListing::most(limit);
            leave = Some(req.state.lists_of_names.leave(req, most).await?);
        }
    }
    Ok((listing, leave.unwrap_or_default()))
}
