//! `/v2/NAME/referrers/DIGEST` (distribution-spec, "Listing Referrers"): an image index, never 404.

use super::{json, next_link, past};
use crate::http::body::put;
use crate::http::error::Fail;
use crate::http::request::Req;
use crate::types::{Digest, MediaType, RepoName};
use axum::body::Body;
use axum::http::Response;
use axum::http::header::{HeaderName, LINK};
use serde::Serialize;
use serde_json::value::RawValue;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    manifests: Vec<Box<RawValue>>,
    media_type: &'static str,
    schema_version: u8,
}

/// One page of descriptors.
pub async fn list(req: &Req, name: &RepoName, digest: &Digest) -> Result<Response<Body>, Fail> {
    let filter = req.query.get("artifactType").filter(|t| !t.is_empty());
    let repos = &req.state.app.repos;
    let found = if let Some((name, rev)) = past(req, name).await? {
        repos.referrers_at(&name, digest, filter, rev).await?
    } else {
        let after = req.query.get("after");
        repos.referrers(name, digest, filter, after).await?
    };
    let index = Index {
        manifests: found.descriptors,
        media_type: MediaType::OCI_INDEX,
        schema_version: 2,
    };
    let index = serde_json::to_string(&index).map_err(|e| Fail::internal(e.to_string()))?;
    let mut response = json(MediaType::OCI_INDEX, index);
    if filter.is_some() {
        put(&mut response, FILTERS, "artifactType");
    }
    if let Some(next) = found.next {
        let mut parameters = vec![("after", next)];
        parameters.extend(filter.map(|f| ("artifactType", f.to_owned())));
        put(
            &mut response,
            LINK,
            &next_link(&format!("/v2/{name}/referrers/{digest}"), &parameters),
        );
    }
    Ok(response)
}
