//! `/v2/NAME/tags/list` (distribution-spec, "Listing Tags").

use super::{json, next_link, past};
use crate::http::body::put;
use crate::http::error::Fail;
use crate::http::request::Req;
use crate::types::{Page, RepoName};
use axum::body::Body;
use axum::http::Response;
use axum::http::header::LINK;

/// The page that the query asks for.
pub fn page(req: &Req) -> Result<Page, Fail> {
    Page::parse(req.query.get("n"), req.query.get("last"))
        .map_err(|e| Fail::bad("UNSUPPORTED", e.to_string()))
}

/// One page of tags, in byte order.
pub async fn list(req: &Req, name: &RepoName) -> Result<Response<Body>, Fail> {
    let page = page(req)?;
    let repos = &req.state.app.repos;
    let found = match past(req, name).await? {
        Some((name, rev)) => repos.tags_at(&name, rev, &page).await?,
        None => repos.tags(name, &page).await?,
    };
    let tags: Vec<&str> = found.tags.iter().map(crate::types::Tag::as_str).collect();
    let text = serde_json::json!({ "name": name.as_str(), "tags": tags });
    let mut response = json("application/json", text.to_string());
    if let (true, Some(last)) = (found.more && page.limit() > 0, tags.last()) {
        let next = [
            ("n", page.limit().to_string()),
            ("last", (*last).to_owned()),
        ];
        put(
            &mut response,
            LINK,
            &next_link(&format!("/v2/{name}/tags/list"), &next),
        );
    }
    Ok(response)
}
