//! `/v2/NAME/tags/list` (distribution-spec, "Listing Tags").

use super::{Asked, answered, next_link, past_place};
use crate::http::answer::Fail;
use crate::http::answer::body::put;
use crate::http::request::Req;
use crate::http::server::limits::long_lists::{ListLeave, SHORT};
use crate::repo::TagPage;
use crate::types::{PageRequest, RepoName, Tag};
use axum::body::Body;
use axum::http::Response;
use axum::http::header::LINK;

/// The page that the query asks for.
pub fn page(req: &Req) -> Result<PageRequest, Fail> {
    PageRequest::parse(req.query.get("n"), req.query.get("last"))
        .map_err(|e| Fail::bad("UNSUPPORTED", e.to_string()))
}

/// Bytes around the names of a page, at most.
const AROUND: usize = RepoName::MAX + r#"{"name":"","repositories":[]}"#.len();
/// Bytes around one of them. No name needs escapes.
const QUOTES: usize = r#""","#.len();

/// Most bytes of a page of so many names, each of `of_one` bytes at most.
pub const fn longest(names: usize, of_one: usize) -> usize {
    AROUND + names * (of_one + QUOTES)
}

/// How many such names are a short list.
pub const fn few(of_one: usize) -> usize {
    (SHORT - AROUND) / (of_one + QUOTES)
}

/// One page of tags, in byte order.
pub async fn list(req: &Req, asked: &Asked) -> Result<Response<Body>, Fail> {
    let name = &asked.url;
    let page = page(req)?;
    let limit = page.limit();
    let (found, leave) = wanted(req, asked, page).await?;
    let mut response = answered("application/json", leave.body(text(name, &found.tags)));
    if let Some(last) = found.next {
        let next = [("n", limit.to_string()), ("last", last)];
        put(
            &mut response,
            LINK,
            &next_link(&format!("/v2/{name}/tags/list"), &next),
        );
    }
    Ok(response)
}

fn text(name: &RepoName, tags: &[Tag]) -> String {
    let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    serde_json::json!({ "name": name.as_str(), "tags": tags }).to_string()
}

/// A page with these tags; `last` is the last of them where there are more, of pages of `n`.
pub fn answer(name: &RepoName, tags: &[Tag], (last, n): (Option<&Tag>, usize)) -> Response<Body> {
    let mut response = answered("application/json", Body::from(text(name, tags)));
    if let Some(last) = last {
        let next = [("n", n.to_string()), ("last", last.to_string())];
        let link = next_link(&format!("/v2/{name}/tags/list"), &next);
        put(&mut response, LINK, &link);
    }
    response
}

/// The tags of a page, and the leave that a long one needs.
async fn wanted(req: &Req, asked: &Asked, page: PageRequest) -> Result<(TagPage, ListLeave), Fail> {
    let _place = past_place(req, asked).await?;
    let repos = &req.state.app.repos;
    let Asked { name, at, .. } = asked;
    let limit = page.limit();
    let begin = PageRequest {
        n: Some(limit.min(few(Tag::MAX))),
        last: page.last,
    };
    let mut found = repos.tags(name, at, &begin).await?;
    // A page of the past may have ended early, with nothing more in it.
    if found.next.is_none() || found.tags.len() < begin.limit() || found.tags.len() >= limit {
        return Ok((found, ListLeave::default()));
    }
    let most = longest(limit, Tag::MAX);
    let leave = req.state.lists_of_names.leave(req, most).await?;
    let rest = PageRequest {
        n: Some(limit - found.tags.len()),
        last: found.next,
    };
    let rest = repos.tags(name, at, &rest).await?;
    found.tags.extend(rest.tags);
    found.next = rest.next;
    Ok((found, leave))
}
