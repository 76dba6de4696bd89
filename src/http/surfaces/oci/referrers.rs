//! `/v2/NAME/referrers/DIGEST` (distribution-spec, "Listing Referrers"): an image index, never 404.

use super::{Asked, answered, next_link, past_place};
use crate::http::answer::Fail;
use crate::http::answer::body::put;
use crate::http::request::Req;
use crate::repo::{ReferrerEnd, ReferrerPage, ReferrerQuery};
use crate::types::{Digest, MediaType, RepoName};
use axum::body::Body;
use axum::http::Response;
use axum::http::header::{HeaderName, LINK};
use serde_json::value::RawValue;

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const BEGIN: &str = r#"{"manifests":["#;
const END: &str = r#"],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}"#;

/// One page of descriptors.
pub async fn list(req: &Req, asked: &Asked, digest: &Digest) -> Result<Response<Body>, Fail> {
    let Asked { url, name, at, .. } = asked;
    let filter = req.query.get("artifactType").filter(|t| !t.is_empty());
    let after = req.query.get("after").filter(|a| !a.is_empty());
    let after = after.map(str::parse::<ReferrerEnd>).transpose();
    let place = past_place(req, asked).await?;
    let query = ReferrerQuery {
        artifact_type: filter.map(str::to_owned),
        after: after.map_err(|e| Fail::bad("UNSUPPORTED", e.to_string()))?,
        at: at.clone(),
    };
    let (index, next) = index(req, name.clone(), *digest, query).await?;
    drop(place);
    let mut response = answered(MediaType::OCI_INDEX, index);
    if filter.is_some() {
        put(&mut response, FILTERS, "artifactType");
    }
    if let Some(next) = next {
        let mut parameters = vec![("after", next.to_string())];
        parameters.extend(filter.map(|f| ("artifactType", f.to_owned())));
        put(
            &mut response,
            LINK,
            &next_link(&format!("/v2/{url}/referrers/{digest}"), &parameters),
        );
    }
    Ok(response)
}

/// All of these descriptors.
pub fn answer(descriptors: Vec<Box<RawValue>>, is_filtered: bool) -> Response<Body> {
    let next = None;
    let (index, _) = text(ReferrerPage { descriptors, next });
    let mut response = answered(MediaType::OCI_INDEX, Body::from(index));
    if is_filtered {
        put(&mut response, FILTERS, "artifactType");
    }
    response
}

/// The index, and where the next page goes on.
async fn index(
    req: &Req,
    name: RepoName,
    digest: Digest,
    query: ReferrerQuery,
) -> Result<(Body, Option<ReferrerEnd>), Fail> {
    let repos = req.state.app.repos.clone();
    if let Some(page) = repos.short_referrers(&name, &digest, &query).await? {
        let (index, next) = text(page);
        return Ok((Body::from(index), next));
    }
    let most = longest(repos.referrers_max());
    let leave = req.state.lists_of_referrers.leave(req, most).await?;
    let making = async move { Ok(text(repos.referrers(&name, &digest, &query).await?)) };
    leave.make(making).await
}

/// Most bytes of an index whose descriptors have so many.
pub fn longest(descriptors: usize) -> usize {
    BEGIN.len() + descriptors + ReferrerPage::ROWS + END.len()
}

/// The index as text. The descriptors are dropped one after the other: together with it they would take twice its length.
fn text(page: ReferrerPage) -> (String, Option<ReferrerEnd>) {
    let descriptors: usize = page.descriptors.iter().map(|d| d.get().len()).sum();
    let mut text = String::with_capacity(longest(descriptors));
    text.push_str(BEGIN);
    for (n, descriptor) in page.descriptors.into_iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        text.push_str(descriptor.get());
    }
    text.push_str(END);
    (text, page.next)
}
