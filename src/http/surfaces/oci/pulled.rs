//! Answers of repositories that belong to an upstream: as those of any repository, with what they cost the upstream, and with
//! a warning where the upstream could not be asked.
//!
//! Owns headers and status codes. Must not decide what is fetched: that is `upstream`'s.

use super::blob::{described, unchanged};
use super::{Asked, CONTENT_DIGEST, immutable, manifest, referrers, tags};
use crate::http::answer::body::{self, content, put};
use crate::http::answer::{Fail, coming};
use crate::http::request::Req;
use crate::types::{Digest, Reference};
use crate::upstream::Upstream;
use crate::upstream::pull::{PullError, PullErrorKind, PulledBlob, PulledTags, Stale};
use axum::body::Body;
use axum::http::header::{AGE, CACHE_CONTROL, RETRY_AFTER, WARNING};
use axum::http::{Method, Response, StatusCode};
use std::sync::Arc;

const KIND: &str = "application/octet-stream";

/// GET and HEAD of a manifest.
pub async fn manifest(
    req: &Req,
    asked: &Asked,
    upstream: &Arc<Upstream>,
    reference: &Reference,
) -> Result<Response<Body>, Fail> {
    let pull = &req.state.app.pull;
    let head = req.method == Method::HEAD;
    let pulled = pull.manifest(upstream, &asked.name, reference, head).await;
    let pulled = pulled.map_err(|e| fail(&e, "MANIFEST_UNKNOWN"))?;
    let mut response = manifest::answer(req, asked, reference, &pulled.manifest).await?;
    if let Some(stale) = &pulled.stale {
        warn(&mut response, stale);
    }
    Ok(response)
}

/// GET and HEAD of a blob.
pub async fn blob(
    req: &Req,
    asked: &Asked,
    upstream: &Arc<Upstream>,
    digest: &Digest,
) -> Result<Response<Body>, Fail> {
    let pull = &req.state.app.pull;
    let failed = |e: PullError| fail(&e, "BLOB_UNKNOWN");
    let mut response = if req.method == Method::HEAD {
        let size = pull.blob_size(upstream, &asked.name, digest).await;
        described(digest, KIND, size.map_err(failed)?)
    } else {
        let blob = pull.blob(upstream, &asked.name, digest).await;
        match blob.map_err(failed)? {
            _ if body::not_modified(&req.headers, digest) => unchanged(digest),
            PulledBlob::Here(blob) => body::respond(req, digest, KIND, content(req, blob)).await?,
            PulledBlob::Coming(blob) => {
                coming::respond(req, digest, KIND, (&blob.growing, blob.size))?
            }
        }
    };
    put(&mut response, CONTENT_DIGEST, &digest.to_string());
    let cache = immutable(req, asked).await?;
    response.headers_mut().insert(CACHE_CONTROL, cache);
    Ok(response)
}

/// A page of tags.
pub async fn tags(
    req: &Req,
    asked: &Asked,
    upstream: &Arc<Upstream>,
) -> Result<Response<Body>, Fail> {
    let page = tags::page(req)?;
    let pull = &req.state.app.pull;
    let listed = pull.tags(upstream, &asked.name, &page).await;
    let listed = listed.map_err(|e| fail(&e, "NAME_UNKNOWN"))?;
    let Some(PulledTags { tags, more, stale }) = listed else {
        return tags::list(req, asked).await;
    };
    let last = tags.last().filter(|_| more).cloned();
    let mut response = tags::answer(&asked.url, &tags, (last.as_ref(), page.limit()));
    if let Some(stale) = &stale {
        warn(&mut response, stale);
    }
    Ok(response)
}

/// What refers to a manifest.
pub async fn referrers(
    req: &Req,
    asked: &Asked,
    upstream: &Arc<Upstream>,
    digest: &Digest,
) -> Result<Response<Body>, Fail> {
    let filter = req.query.get("artifactType").filter(|t| !t.is_empty());
    let pull = &req.state.app.pull;
    let listed = pull.referrers(upstream, &asked.name, digest, filter).await;
    let Some(listed) = listed.map_err(|e| fail(&e, "NAME_UNKNOWN"))? else {
        return referrers::list(req, asked, digest).await;
    };
    let mut response = referrers::answer(listed.descriptors, filter.is_some());
    if let Some(stale) = &listed.stale {
        warn(&mut response, stale);
    }
    Ok(response)
}

/// Says that the answer may be old (distribution-spec, "Warnings"; RFC 9111 section 5.1).
pub fn warn(response: &mut Response<Body>, stale: &Stale) {
    let text: String = stale
        .why
        .chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            ' '..='~' => c,
            _ => '?',
        })
        .take(300)
        .collect();
    let text = format!("299 - \"this may be old: {text}\"");
    response.headers_mut().remove(WARNING);
    put(response, WARNING, &text);
    put(response, AGE, &stale.age.as_secs().to_string());
}

/// The refusal for what an upstream does not give; `unknown` is the code for what nobody has.
pub fn fail(error: &PullError, unknown: &'static str) -> Fail {
    let text = error.to_string();
    match error.kind() {
        PullErrorKind::NotThere => Fail::new(StatusCode::NOT_FOUND, unknown, text),
        PullErrorKind::Denied => Fail::new(StatusCode::FORBIDDEN, "DENIED", text),
        PullErrorKind::Away => {
            let again = match error {
                PullError::Away { again, .. } => again.as_secs().max(1),
                _ => 60,
            };
            Fail::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", text)
                .with(RETRY_AFTER, again.to_string())
        }
        PullErrorKind::Wrong => Fail::new(StatusCode::BAD_GATEWAY, "UNKNOWN", text),
        PullErrorKind::Internal => match error {
            PullError::Repo(own) => Fail::from_repo(own),
            _ => Fail::internal(text),
        },
    }
}
