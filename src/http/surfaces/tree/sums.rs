//! `FOLDER/SHA256SUMS` where no such file is: the digests of the files directly in the folder, as `sha256sum -c` reads them.
//!
//! They are all of one revision, and are sent page by page: however many files there are, few are in memory.

use super::folder::next_page;
use super::{holds, past_place};
use crate::http::answer::Fail;
use crate::http::answer::body::put;
use crate::http::request::Req;
use crate::repo::{FolderPage, RepoError, Repos, Tree};
use crate::types::{Algorithm, PageRequest};
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, Response};
use futures_util::stream::try_unfold;
use std::fmt::Write as _;

const NAME: &str = "SHA256SUMS";
/// Files of one piece.
const FILES: usize = 250;

/// The folder whose sums a path means; `None` for any other path.
pub fn folder_of(path: &str) -> Option<&str> {
    let folder = path.strip_suffix(NAME)?;
    (folder.is_empty() || folder.ends_with('/')).then_some(folder)
}

/// The sums of a folder.
pub async fn get(req: &Req, tree: &Tree, folder: &str) -> Result<Response<Body>, Fail> {
    let place = past_place(req, tree).await?;
    let repos = req.state.app.repos.clone();
    let folder = Tree {
        path: folder.to_owned(),
        ..tree.clone()
    };
    let at = repos.fixed(&folder).await?;
    let first = repos.folder(&at, &page(None)).await?;
    drop(place);
    let body = if req.method == Method::HEAD {
        Body::empty()
    } else {
        stream(repos, at, first)
    };
    let mut response = Response::new(body);
    put(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, holds(req, tree).await?);
    Ok(response)
}

fn page(last: Option<String>) -> PageRequest {
    PageRequest {
        n: Some(FILES),
        last,
    }
}

/// What is sent next.
enum Ahead {
    Page(FolderPage),
    After(String),
    Nothing,
}

fn stream(repos: Repos, tree: Tree, first: FolderPage) -> Body {
    let begin = (repos, tree, Ahead::Page(first));
    Body::from_stream(try_unfold(begin, async |(repos, tree, ahead)| {
        let found = match ahead {
            Ahead::Page(found) => found,
            Ahead::After(last) => next_page(&repos, &tree, &page(Some(last))).await?,
            Ahead::Nothing => return Ok::<_, RepoError>(None),
        };
        let text = Bytes::from(lines(&found));
        let ahead = found.next.map_or(Ahead::Nothing, Ahead::After);
        Ok(Some((text, (repos, tree, ahead))))
    }))
}

fn lines(found: &FolderPage) -> String {
    let mut text = String::new();
    for entry in &found.entries {
        let digest = entry.file.map(|file| file.digest);
        if let Some(digest) = digest.filter(|d| d.algorithm() == Algorithm::Sha256) {
            let _ = writeln!(text, "{}  {}", digest.hex(), entry.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_sums() {
        assert_eq!(folder_of("SHA256SUMS"), Some(""));
        assert_eq!(folder_of("a/b/SHA256SUMS"), Some("a/b/"));
        assert_eq!(folder_of("a/XSHA256SUMS"), None);
        assert_eq!(folder_of("a/SHA256SUMS/"), None);
    }
}
