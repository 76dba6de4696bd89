//! `/v2/NAME/referrers/DIGEST` (distribution-spec, "Listing Referrers"): an image index, never 404.

use super::{json, next_link, past};
use crate::http::body::put;
use crate::http::error::Fail;
use crate::http::request::Req;
use crate::types::{Digest, MediaType, RepoName};
use axum::body::Body;
use axum::http::Response;
use axum::http::header::{HeaderName, LINK};

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

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
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": found.descriptors,
    });
    let mut response = json(MediaType::OCI_INDEX, index.to_string());
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
