//! GET and HEAD of a file: whole, in ranges, or not changed.

use super::conditions::{date, unchanged};
use super::digests::{REPR_DIGEST, repr};
use super::{holds, media, past_place};
use crate::http::answer::Fail;
use crate::http::answer::body::{self, put};
use crate::http::request::Req;
use crate::repo::{RepoError, Tree};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, LAST_MODIFIED};
use axum::http::{HeaderValue, Method, Response, StatusCode};

/// What a browser lets a file of a repository do: nothing. It runs no script, sends no form, loads nothing, and is of no origin,
/// so it cannot use what a visitor may do here.
const POLICY: HeaderValue = HeaderValue::from_static(
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The file at the path; `None` if there is none.
pub async fn get(req: &Req, tree: &Tree) -> Result<Option<Response<Body>>, Fail> {
    let place = past_place(req, tree).await?;
    let file = match req.state.app.repos.file(tree).await {
        Err(RepoError::PathUnknown(_)) => return Ok(None),
        file => file?,
    };
    drop(place);
    let (digest, modified_ms) = (file.blob.digest, file.modified_ms);
    let mut response = if unchanged(&req.headers, &digest, modified_ms)? {
        let mut response = body::empty(StatusCode::NOT_MODIFIED);
        put(&mut response, ETAG, &body::etag(&digest));
        response
    } else {
        let kind = media::of(&tree.path);
        if req.method == Method::HEAD {
            let mut response = body::empty(StatusCode::OK);
            body::describe(&mut response, &digest, &kind, file.blob.size);
            response
        } else {
            let content = body::content(req, file.blob);
            let seconds = Some(modified_ms / 1000);
            body::respond_dated(req, (&digest, seconds), &kind, content).await?
        }
    };
    put(&mut response, REPR_DIGEST, &repr(&digest));
    put(&mut response, LAST_MODIFIED, &date(modified_ms));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, holds(req, tree).await?);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    Ok(Some(response))
}
