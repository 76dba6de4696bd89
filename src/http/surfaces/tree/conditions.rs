//! Conditions of requests on files (RFC 9110 section 13), and dates as HTTP writes them.
//!
//! Owns how headers become conditions. What a change finds is compared in its own transaction.

use crate::http::answer::Fail;
use crate::http::answer::body::not_modified;
use crate::http::request::Req;
use crate::repo::{RepoError, Tree, When};
use crate::types::Digest;
use axum::http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};
use axum::http::{HeaderMap, StatusCode};
use std::time::{Duration, UNIX_EPOCH};

/// A time (wall clock, ms) as `Last-Modified` says it, in whole seconds.
pub fn date(ms: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(ms))
}

/// The whole seconds since 1970 of a date in any of the three forms that HTTP knows.
fn seconds(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

/// The date in a header, if there is one that is read as such.
fn dated(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    seconds(headers.get(name)?.to_str().ok()?)
}

/// Whether a reader has this file already, in the order of RFC 9110 section 13.2.2.
///
/// # Errors
/// 412 if it wants another file than this one.
pub fn unchanged(headers: &HeaderMap, digest: &Digest, modified_ms: u64) -> Result<bool, Fail> {
    let modified = modified_ms / 1000;
    let is_wanted = match tags(headers, &IF_MATCH)? {
        Some(Tags::Any) => true,
        Some(Tags::These(these)) => these.contains(digest),
        None => dated(headers, &IF_UNMODIFIED_SINCE).is_none_or(|date| modified <= date),
    };
    if !is_wanted {
        let text = "the file is another one than the request expects";
        let status = StatusCode::PRECONDITION_FAILED;
        return Err(Fail::new(status, "DENIED", text));
    }
    if headers.contains_key(IF_NONE_MATCH) {
        return Ok(not_modified(headers, digest));
    }
    Ok(dated(headers, &IF_MODIFIED_SINCE).is_some_and(|date| modified <= date))
}

/// When a change is to be made.
///
/// # Errors
/// 412 where a date says no already; 400 for both kinds of tags at once.
pub async fn writing(req: &Req, tree: &Tree) -> Result<When, Fail> {
    let matched = tags(&req.headers, &IF_MATCH)?;
    let unmatched = tags(&req.headers, &IF_NONE_MATCH)?;
    Ok(match (matched, unmatched) {
        (Some(_), Some(_)) => {
            let text = "a change takes If-Match or If-None-Match, not both";
            return Err(Fail::bad("UNSUPPORTED", text));
        }
        (Some(Tags::Any), None) => When::Present,
        (Some(Tags::These(these)), None) => When::Is(these),
        (None, Some(Tags::Any)) => When::Absent,
        (None, Some(Tags::These(these))) => When::IsNot(these),
        (None, None) => match dated(&req.headers, &IF_UNMODIFIED_SINCE) {
            Some(date) => unmodified_since(req, tree, date).await?,
            None => When::Always,
        },
    })
}

/// The file that was there at this date and is there still; where none is, the date says nothing.
async fn unmodified_since(req: &Req, tree: &Tree, date: u64) -> Result<When, Fail> {
    let file = match req.state.app.repos.file(tree).await {
        Err(RepoError::PathUnknown(_)) => return Ok(When::Always),
        file => file?,
    };
    if file.modified_ms / 1000 > date {
        let (path, is_there) = (tree.path.clone(), true);
        return Err(RepoError::Precondition { path, is_there }.into());
    }
    Ok(When::Is(vec![file.blob.digest]))
}

/// A list of entity tags.
enum Tags {
    Any,
    These(Vec<Digest>),
}

/// More tags than this are refused.
const MOST: usize = 256;

/// The tags of a header, as far as they can be those of files here: compared strongly, so a weak one is none of them.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Fail> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut these = Vec::new();
    for (seen, tag) in texts.flat_map(|text| text.split(',')).enumerate() {
        if seen == MOST {
            let text = format!("at most {MOST} entity tags in one request");
            return Err(Fail::bad("UNSUPPORTED", text));
        }
        let tag = tag.trim();
        if tag == "*" {
            return Ok(Some(Tags::Any));
        }
        // Some clients send the digest without quotes.
        these.extend(tag.trim_matches('"').parse::<Digest>());
    }
    Ok(Some(Tags::These(these)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    #[test]
    fn dates() {
        assert_eq!(date(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        for same in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(seconds(same), Some(784_111_777), "{same}");
        }
        for none in ["", "yesterday", "1994-11-06T08:49:37Z"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    fn ask(pairs: &[(&'static str, &str)]) -> Option<bool> {
        let digest = Digest::of(Algorithm::Sha256, b"a");
        let headers = pairs.iter().map(|(name, value)| {
            let value = value.replace("TAG", &format!("\"{digest}\""));
            (
                HeaderName::from_static(name),
                value.parse().expect("a value"),
            )
        });
        unchanged(&headers.collect(), &digest, 784_111_777_500).ok()
    }

    #[test]
    fn conditions_of_readers() {
        const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        for (pairs, want) in [
            (&[][..], Some(false)),
            (&[("if-none-match", "TAG")], Some(true)),
            (&[("if-none-match", "W/TAG")], Some(true)),
            (&[("if-none-match", "\"x\", TAG")], Some(true)),
            (&[("if-none-match", "\"x\"")], Some(false)),
            (&[("if-none-match", "*")], Some(true)),
            (&[("if-modified-since", THEN)], Some(true)),
            (&[("if-modified-since", BEFORE)], Some(false)),
            (&[("if-modified-since", "nonsense")], Some(false)),
            // Tags count before dates.
            (
                &[("if-none-match", "\"x\""), ("if-modified-since", THEN)],
                Some(false),
            ),
            (&[("if-match", "TAG")], Some(false)),
            (&[("if-match", "*")], Some(false)),
            (&[("if-match", "W/TAG")], None),
            (&[("if-match", "\"x\"")], None),
            (&[("if-unmodified-since", THEN)], Some(false)),
            (&[("if-unmodified-since", BEFORE)], None),
            (
                &[("if-match", "TAG"), ("if-unmodified-since", BEFORE)],
                Some(false),
            ),
            (&[("if-match", "TAG"), ("if-none-match", "TAG")], Some(true)),
        ] {
            assert_eq!(ask(pairs), want, "{pairs:?}");
        }
    }
}
