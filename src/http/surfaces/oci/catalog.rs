//! `/v2/_catalog`: the repositories that the caller may list, a page at a time.

use super::tags::{few, longest, page};
use super::{CATALOG_SCOPE, answered, next_link, only_get};
use crate::auth::Action;
use crate::http::answer::Fail;
use crate::http::answer::body::put;
use crate::http::request::Req;
use crate::http::server::limits::long_lists::ListLeave;
use crate::repo::LongRead;
use crate::types::{Kind, RepoName};
use axum::body::Body;
use axum::http::Response;
use axum::http::header::LINK;

/// The most and the fewest names that are read at once while a page is being filled.
const BATCH: (usize, usize) = (50, 1000);

/// Who has not filled a page after so many batches waits for a turn, and after each so many for the next.
const NEAR: usize = 8;
const TURN: usize = 8;

/// One page of names, in byte order. What a token's scope says about single repositories does not matter here: the
/// list shows what the user behind it may list.
pub async fn list(req: &Req) -> Result<Response<Body>, Fail> {
    only_get(req)?;
    req.require_server(Action::Catalog, CATALOG_SCOPE).await?;
    let page = page(req)?;
    let repos = &req.state.app.repos;
    let limit = page.limit();
    let mut leave = ListLeave::default();
    let few = few(RepoName::MAX);
    let mut at_once = (limit.min(few) + 1).max(BATCH.0);
    let mut names: Vec<String> = Vec::new();
    let mut last = page.last;
    let mut more = false;
    // With n=0 nothing is looked for.
    let mut looking = limit > 0;
    let (mut batches, mut far) = (0, None::<LongRead>);
    'full: while looking {
        if batches >= NEAR && batches % TURN == 0 {
            let mut read = match far.take() {
                Some(read) => read,
                None => repos.far(req.asker().as_ref()).await?,
            };
            read.next_turn().await?;
            far = Some(read);
            at_once = BATCH.1;
        }
        batches += 1;
        let batch = repos
            .names(Some(Kind::Oci), last.as_deref(), at_once)
            .await?;
        last = batch.next;
        looking = last.is_some();
        for name in batch.names {
            if !req.user_may(Action::RepoList, &name).await? {
                continue;
            }
            if names.len() == limit {
                more = true;
                break 'full;
            }
            if names.len() == few {
                let most = longest(limit, RepoName::MAX);
                // Who waits for this gives nobody else's turn away.
                if let Some(read) = &mut far {
                    read.give_up_turn();
                }
                leave = req.state.lists_of_names.leave(req, most).await?;
                at_once = BATCH.1;
            }
            names.push(name.to_string());
        }
    }
    let text = serde_json::json!({ "repositories": names });
    let mut response = answered("application/json", leave.body(text.to_string()));
    if let (true, Some(last)) = (more, names.last()) {
        let next = [("n", limit.to_string()), ("last", last.clone())];
        put(&mut response, LINK, &next_link("/v2/_catalog", &next));
    }
    Ok(response)
}
