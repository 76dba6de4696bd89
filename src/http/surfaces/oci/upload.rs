//! `/v2/NAME/blobs/uploads/` (distribution-spec, "Pushing blobs", "Mounting a blob", "Cancel a blob upload").

use super::{CONTENT_DIGEST, empty};
use crate::auth::Action;
use crate::http::answer::Fail;
use crate::http::answer::body::put;
use crate::http::request::{Incoming, Req};
use crate::repo::RepoError;
use crate::types::{Algorithm, ContentRange, Digest, RangeError, RepoName, UploadId};
use axum::body::Body;
use axum::http::header::{HeaderName, LOCATION, RANGE, RETRY_AFTER};
use axum::http::{Method, Response, StatusCode};

const UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Repositories that are asked for a blob to mount, when the client names none.
const HOLDERS: usize = 64;

/// POST: mount, whole blob in one request, or a new session.
pub async fn begin(
    req: &Req,
    name: &RepoName,
    body: &mut Incoming,
) -> Result<Response<Body>, Fail> {
    req.require(Action::RepoPush, name).await?;
    let mount = digest_of(req, "mount")?;
    let whole = digest_of(req, "digest")?;
    let named = match req.query.get("digest-algorithm") {
        Some(text) => Some(
            text.parse::<Algorithm>()
                .map_err(|e| Fail::bad("DIGEST_INVALID", e.to_string()))?,
        ),
        None => None,
    };
    let repos = &req.state.app.repos;
    if let Some(digest) = &mount {
        repos.check_pushes(name).await?;
        if try_mount(req, name, digest).await? {
            return Ok(created(name, digest));
        }
    }
    let algorithm = named
        .or(whole.or(mount).map(|d| d.algorithm()))
        .unwrap_or(Algorithm::Sha256);
    let owner = req.client().to_string();
    if let Some(digest) = whole.filter(|_| mount.is_none()) {
        let length = req.length();
        repos
            .push_blob(name, &owner, length, &mut *body, &digest)
            .await?;
        return Ok(created(name, &digest));
    }
    let id = repos.begin_upload(name, algorithm, &owner).await?;
    Ok(progress(StatusCode::ACCEPTED, name, id, 0))
}

/// Links a blob from a repository that the *user behind* the request may read; the token's scope limits the target
/// only. False: it is nowhere that may be read, and an upload is the way.
async fn try_mount(req: &Req, name: &RepoName, digest: &Digest) -> Result<bool, Fail> {
    let repos = &req.state.app.repos;
    if let Some(from) = req.query.get("from").filter(|f| !f.is_empty()) {
        let Ok(from) = from.parse::<RepoName>() else {
            return Ok(false);
        };
        return Ok(req.user_may(Action::RepoPull, &from).await?
            && repos.mount(name, digest, &from).await?);
    }
    for from in repos.holders(digest, HOLDERS).await? {
        if req.user_may(Action::RepoPull, &from).await? && repos.mount(name, digest, &from).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// GET, PATCH, PUT and DELETE of a session.
pub async fn session(
    req: &Req,
    name: &RepoName,
    id: UploadId,
    body: &mut Incoming,
) -> Result<Response<Body>, Fail> {
    req.require(Action::RepoPush, name).await?;
    let repos = &req.state.app.repos;
    match req.method {
        Method::GET | Method::HEAD => {
            let offset = repos.upload_offset(name, id).await?;
            Ok(progress(StatusCode::NO_CONTENT, name, id, offset))
        }
        Method::PATCH => {
            let range = content_range(req, name, id).await?;
            let done = repos
                .append(name, id, range, req.length(), &mut *body)
                .await;
            let offset = done.map_err(|e| refused(e, name, id))?;
            Ok(progress(StatusCode::ACCEPTED, name, id, offset))
        }
        Method::PUT => {
            let digest = digest_of(req, "digest")?;
            let missing = || {
                Fail::bad(
                    "DIGEST_INVALID",
                    "the closing PUT needs ?digest= with the digest of the blob",
                )
            };
            let digest = digest.ok_or_else(missing)?;
            let range = content_range(req, name, id).await?;
            let done = repos
                .finish_upload(name, id, range, req.length(), &mut *body, &digest)
                .await;
            done.map_err(|e| refused(e, name, id))?;
            Ok(created(name, &digest))
        }
        Method::DELETE => {
            repos.cancel_upload(name, id).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Fail::method("GET, PATCH, PUT, DELETE")),
    }
}

fn digest_of(req: &Req, key: &str) -> Result<Option<Digest>, Fail> {
    match req.query.get(key) {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|e: crate::types::DigestError| Fail::bad("DIGEST_INVALID", e.to_string())),
    }
}

async fn content_range(
    req: &Req,
    name: &RepoName,
    id: UploadId,
) -> Result<Option<ContentRange>, Fail> {
    let Some(value) = req.headers.get("content-range") else {
        return Ok(None);
    };
    match ContentRange::parse(value.to_str().unwrap_or_default()) {
        Ok(range) => Ok(Some(range)),
        Err(RangeError::Unsatisfiable) => {
            let stands = req.state.app.repos.upload_offset(name, id).await?;
            let text = "the Content-Range ends before it starts";
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let fail = Fail::new(status, "BLOB_UPLOAD_INVALID", text);
            Err(with_progress(fail, name, id, stands))
        }
        Err(RangeError::Syntax | RangeError::Many) => Err(Fail::bad(
            "BLOB_UPLOAD_INVALID",
            "a Content-Range is written FIRST-LAST",
        )),
    }
}

/// An error of a session; out of order says where the session stands.
fn refused(error: RepoError, name: &RepoName, id: UploadId) -> Fail {
    match error {
        RepoError::OutOfOrder { want, .. } => with_progress(error.into(), name, id, want),
        RepoError::UploadBusy => Fail::from(error).with(RETRY_AFTER, "1"),
        other => other.into(),
    }
}

/// A refusal that says where the session stands.
fn with_progress(fail: Fail, name: &RepoName, id: UploadId, offset: u64) -> Fail {
    fail.with(LOCATION, location(name, id))
        .with(RANGE, range(offset))
        .with(UUID, id.to_string())
}

fn location(name: &RepoName, id: UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// `0-LAST`. Nothing yet is written `0-0`, as the protocol has no way to say it.
fn range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn progress(status: StatusCode, name: &RepoName, id: UploadId, offset: u64) -> Response<Body> {
    let mut response = empty(status);
    put(&mut response, LOCATION, &location(name, id));
    put(&mut response, RANGE, &range(offset));
    put(&mut response, UUID, &id.to_string());
    response
}

fn created(name: &RepoName, digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    put(
        &mut response,
        LOCATION,
        &format!("/v2/{name}/blobs/{digest}"),
    );
    put(&mut response, CONTENT_DIGEST, &digest.to_string());
    response
}
