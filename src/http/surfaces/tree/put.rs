//! PUT and DELETE of a file: whole or in parts that can be taken up again.

use super::conditions::{date, writing};
use super::digests::{Checked, ClaimedDigests, REPR_DIGEST, repr};
use super::listing::encode;
use super::part;
use crate::http::answer::Fail;
use crate::http::answer::body::{empty, etag, put as set};
use crate::http::caller::credentials::who;
use crate::http::request::{Incoming, Req};
use crate::repo::{Filed, NewFile, PartDone, PartRange, RepoError, Tree};
use crate::types::{FilePath, PathError};
use axum::body::Body;
use axum::http::header::{
    CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER,
};
use axum::http::{Response, StatusCode};

/// PUT: 201 for a new file, 200 for one in place of another, 202 for a part.
pub async fn put(req: &Req, tree: &Tree, body: &mut Incoming) -> Result<Response<Body>, Fail> {
    let path = path(tree)?;
    let coded = req.headers.get_all(CONTENT_ENCODING).iter();
    if coded
        .filter_map(|value| value.to_str().ok())
        .any(|coding| !coding.trim().eq_ignore_ascii_case("identity"))
    {
        let text =
            "files are kept as they come, and so without a Content-Encoding; send the file itself";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Fail::new(status, "UNSUPPORTED", text));
    }
    let claimed = ClaimedDigests::of(&req.headers)?;
    let part = match req.headers.get(CONTENT_RANGE) {
        None => None,
        Some(value) => Some(part::parse(value.to_str().unwrap_or_default())?),
    };
    let new = NewFile {
        path,
        when: writing(req, tree).await?,
        digest: claimed.sha256,
        who: who(&req.grant.principal),
        owner: req.client().to_string(),
    };
    let (repos, name, length) = (&req.state.app.repos, &tree.name, req.length());
    let filed = match (part, claimed.sha512) {
        (Some(part), None) => return put_part(req, tree, (new, part), body).await,
        (Some(_), Some(_)) => {
            let text = "a SHA-512 digest is checked of a file that comes whole; name the SHA-256 digest of one that comes in parts";
            return Err(Fail::bad("UNSUPPORTED", text));
        }
        (None, None) => repos.put_file(name, new, length, &mut *body).await,
        (None, Some(want)) => {
            let checked = Checked::new(&mut *body, want);
            repos.put_file(name, new, length, checked).await
        }
    };
    Ok(taken(tree, &filed.map_err(refused)?))
}

/// A part, or the question how much has come.
async fn put_part(
    req: &Req,
    tree: &Tree,
    (new, part): (NewFile, PartRange),
    body: &mut Incoming,
) -> Result<Response<Body>, Fail> {
    let repos = &req.state.app.repos;
    if part.range.is_none() && !body.ended() {
        let text = "whoever asks how much has come sends nothing with it";
        return Err(Fail::bad("SIZE_INVALID", text));
    }
    let done = repos.put_file_part(&tree.name, new, part, req.length(), &mut *body);
    Ok(match done.await.map_err(refused)? {
        PartDone::Filed(filed) => taken(tree, &filed),
        PartDone::Arrived(arrived) => {
            let mut response = empty(StatusCode::ACCEPTED);
            if let Some(range) = range(arrived) {
                set(&mut response, RANGE, &range);
            }
            response
        }
    })
}

/// DELETE: what the path meant stays in the history.
pub async fn delete(req: &Req, tree: &Tree) -> Result<Response<Body>, Fail> {
    let path = path(tree)?;
    let when = writing(req, tree).await?;
    let by = who(&req.grant.principal);
    let repos = &req.state.app.repos;
    repos.delete_file(&tree.name, &path, when, &by).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn path(tree: &Tree) -> Result<FilePath, Fail> {
    let parsed = tree.path.parse::<FilePath>();
    parsed.map_err(|e: PathError| Fail::bad("NAME_INVALID", e.to_string()))
}

/// An error of a PUT; out of order says how much has come.
fn refused(error: RepoError) -> Fail {
    match error {
        RepoError::OutOfOrder { want, .. } => match range(want) {
            Some(range) => Fail::from(error).with(RANGE, range),
            None => error.into(),
        },
        RepoError::UploadBusy => Fail::from(error).with(RETRY_AFTER, "1"),
        other => other.into(),
    }
}

/// `bytes=0-LAST`; nothing has no such form.
fn range(arrived: u64) -> Option<String> {
    let last = arrived.checked_sub(1)?;
    Some(format!("bytes=0-{last}"))
}

fn taken(tree: &Tree, filed: &Filed) -> Response<Body> {
    let status = if filed.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = empty(status);
    let path: Vec<_> = tree.path.split('/').map(encode).collect();
    let location = format!("/r/{}/{}", tree.name, path.join("/"));
    set(&mut response, LOCATION, &location);
    set(&mut response, ETAG, &etag(&filed.digest));
    set(&mut response, REPR_DIGEST, &repr(&filed.digest));
    set(&mut response, LAST_MODIFIED, &date(filed.modified_ms));
    response
}
