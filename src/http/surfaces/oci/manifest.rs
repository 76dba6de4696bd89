//! `/v2/NAME/manifests/REFERENCE` (distribution-spec, "Pulling manifests", "Pushing manifests", "Content Management").

use super::blob::{described, unchanged};
use super::{Asked, CONTENT_DIGEST, empty, immutable};
use crate::auth::Action;
use crate::http::answer::Fail;
use crate::http::answer::body::{self, content, put as set};
use crate::http::caller::credentials::who;
use crate::http::request::{Incoming, Req};
use crate::repo::{Manifest, PutManifest, RepoError, Source};
use crate::types::{MediaType, Reference, RepoName, Tag};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, HeaderName, LOCATION};
use axum::http::{HeaderValue, Method, Response, StatusCode};

/// More `?tag=` in one request are refused (the spec asks for ten): each has a header in the answer, and many clients take
/// no more than 100 headers.
const MAX_TAGS: usize = 64;
const TAG: HeaderName = HeaderName::from_static("oci-tag");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Caches must ask each time whether a tag still means the same.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// GET and HEAD: the bytes and the media type exactly as they were pushed.
pub async fn get(req: &Req, asked: &Asked, reference: &Reference) -> Result<Response<Body>, Fail> {
    let repos = &req.state.app.repos;
    let Asked { name, at, .. } = asked;
    let manifest = if req.method == Method::HEAD {
        repos.manifest_head(name, at, reference).await?
    } else {
        repos.manifest(name, at, reference).await?
    };
    answer(req, asked, reference, &manifest).await
}

/// The answer with this manifest.
pub async fn answer(
    req: &Req,
    asked: &Asked,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<Response<Body>, Fail> {
    let (blob, kind) = (&manifest.blob, manifest.media_type.as_str());
    let mut response = if body::not_modified(&req.headers, &blob.digest) {
        unchanged(&blob.digest)
    } else if req.method == Method::HEAD {
        described(&blob.digest, kind, blob.size)
    } else {
        body::respond(req, &blob.digest, kind, content(req, blob.clone())).await?
    };
    set(&mut response, CONTENT_DIGEST, &blob.digest.to_string());
    let cache = if matches!(reference, Reference::Digest(_)) {
        immutable(req, asked).await?
    } else {
        NO_CACHE
    };
    response.headers_mut().insert(CACHE_CONTROL, cache);
    Ok(response)
}

/// PUT by tag or digest, with many `?tag=`: one transaction.
pub async fn put(
    req: &Req,
    name: &RepoName,
    reference: Reference,
    body: &mut Incoming,
) -> Result<Response<Body>, Fail> {
    let tags = tags(req)?;
    req.require(Action::RepoPush, name).await?;
    if !tags.is_empty() || matches!(reference, Reference::Tag(_)) {
        req.require(Action::TagWrite, name).await?;
    }
    let media_type = match req.header("content-type") {
        None | Some("") => None,
        Some(text) => Some(
            text.parse::<MediaType>()
                .map_err(|e| Fail::bad("MANIFEST_INVALID", e.to_string()))?,
        ),
    };
    let repos = &req.state.app.repos;
    repos.check_manifest(name, &reference, &tags).await?;
    let max = req.config.limits.manifest_bytes;
    let came = req.document(body, max).await?;
    // The turn ends with the commit.
    let (bytes, turn) = came.ok_or(RepoError::TooLarge(max))?;
    let source = Source::Push {
        by: who(&req.grant.principal),
    };
    let put = PutManifest {
        bytes,
        media_type,
        reference,
        tags: tags.clone(),
        source,
    };
    let done = repos.put_manifest(name, put, turn).await?;
    let mut response = empty(StatusCode::CREATED);
    set(
        &mut response,
        LOCATION,
        &format!("/v2/{name}/manifests/{}", done.digest),
    );
    set(&mut response, CONTENT_DIGEST, &done.digest.to_string());
    if let Some(subject) = done.subject {
        set(&mut response, SUBJECT, &subject.to_string());
    }
    for tag in tags {
        if let Ok(value) = HeaderValue::from_str(tag.as_str()) {
            response.headers_mut().append(TAG, value);
        }
    }
    Ok(response)
}

fn tags(req: &Req) -> Result<Vec<Tag>, Fail> {
    let mut tags = Vec::new();
    for text in req.query.all("tag") {
        if tags.len() == MAX_TAGS {
            let text = format!("at most {MAX_TAGS} tags in one request");
            return Err(Fail::new(StatusCode::URI_TOO_LONG, "UNSUPPORTED", text));
        }
        let tag: Tag = text
            .parse()
            .map_err(|e: crate::types::NameError| Fail::bad("MANIFEST_INVALID", e.to_string()))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// DELETE: a tag alone, or a manifest with every tag that points to it. Who may push may delete a list of referrers, which
/// clients make anew for each change.
pub async fn delete(
    req: &Req,
    name: &RepoName,
    reference: &Reference,
) -> Result<Response<Body>, Fail> {
    let repos = &req.state.app.repos;
    let (who, asker) = (who(&req.grant.principal), req.asker());
    if !req.may(Action::RepoDelete, name).await?
        && req.may(Action::RepoPush, name).await?
        && req.may(Action::TagWrite, name).await?
        && repos
            .delete_list(name, reference, &who, asker.as_ref())
            .await?
    {
        return Ok(empty(StatusCode::ACCEPTED));
    }
    req.require(Action::RepoDelete, name).await?;
    let done = match reference {
        Reference::Tag(tag) => repos.delete_tag(name, tag, &who).await,
        Reference::Digest(digest) => {
            let done = repos.delete_manifest(name, digest, &who, asker.as_ref());
            done.await
        }
    };
    done.map_err(super::blob::refused_delete)?;
    Ok(empty(StatusCode::ACCEPTED))
}
