//! `/v2/NAME/blobs/DIGEST` (distribution-spec, "Pulling blobs", "Deleting Blobs").

use super::{Asked, CONTENT_DIGEST, empty, immutable, past_place};
use crate::auth::Action;
use crate::http::answer::Fail;
use crate::http::answer::body::{self, content, put};
use crate::http::request::Req;
use crate::repo::{At, Blob, RepoError};
use crate::types::{Digest, RepoName};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::{Method, Response, StatusCode};

const KIND: &str = "application/octet-stream";

/// GET and HEAD, with ranges and 304.
pub async fn get(req: &Req, asked: &Asked, digest: &Digest) -> Result<Response<Body>, Fail> {
    let repos = &req.state.app.repos;
    let Asked { name, at, .. } = asked;
    let mut response = if *at != At::Head {
        let blob = Box::pin(of_past(req, asked, digest)).await?;
        if req.method == Method::HEAD {
            described(digest, KIND, blob.size)
        } else if body::not_modified(&req.headers, digest) {
            unchanged(digest)
        } else {
            body::respond(req, digest, KIND, content(req, blob)).await?
        }
    } else if req.method == Method::HEAD {
        described(digest, KIND, repos.blob_size(name, at, digest).await?)
    } else if req.headers.contains_key(IF_NONE_MATCH) && body::not_modified(&req.headers, digest) {
        // The tag matches by the URL alone; whether the repository shows the blob must still be asked.
        repos.blob_size(name, at, digest).await?;
        unchanged(digest)
    } else {
        let blob = repos.blob(name, at, digest).await?;
        body::respond(req, digest, KIND, content(req, blob)).await?
    };
    put(&mut response, CONTENT_DIGEST, &digest.to_string());
    let cache = immutable(req, asked).await?;
    response.headers_mut().insert(CACHE_CONTROL, cache);
    Ok(response)
}

/// A blob of the past: most are found at once, and one that is searched for takes a place of its client.
async fn of_past(req: &Req, asked: &Asked, digest: &Digest) -> Result<Blob, Fail> {
    let repos = &req.state.app.repos;
    let found = repos.blob_of_past(&asked.name, &asked.at, digest);
    if let Some(blob) = found.await? {
        return Ok(blob);
    }
    let _place = past_place(req, asked).await?;
    Ok(repos.search_blob(&asked.name, &asked.at, digest).await?)
}

/// 304.
pub fn unchanged(digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    put(&mut response, ETAG, &body::etag(digest));
    response
}

/// 200 for HEAD.
pub fn described(digest: &Digest, kind: &str, size: u64) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    body::describe(&mut response, digest, kind, size);
    response
}

/// DELETE: the repository no longer shows the blob.
pub async fn delete(req: &Req, name: &RepoName, digest: &Digest) -> Result<Response<Body>, Fail> {
    req.require(Action::RepoDelete, name).await?;
    req.state
        .app
        .repos
        .delete_blob(name, digest, req.asker().as_ref())
        .await
        .map_err(refused_delete)?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// A delete that the repository's state forbids is 405, which is how the spec lets a registry say no.
pub fn refused_delete(error: RepoError) -> Fail {
    let refused = matches!(error, RepoError::Refused(_) | RepoError::Mendable(..));
    let mut fail = Fail::from(error);
    if refused {
        fail.status = StatusCode::METHOD_NOT_ALLOWED;
    }
    fail
}
