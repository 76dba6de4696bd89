//! Redirects, followed by hand: at most five, never from HTTPS to HTTP, nothing of ours to another host. What may be connected
//! to at all is decided in [`crate::fetch::wire`].

use crate::fetch::error::FetchError;
use crate::fetch::wire::shown;
use percent_encoding::AsciiSet;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};

/// More in a row than this are a loop.
pub(in crate::fetch) const MOST: usize = 5;

/// Whether the status asks to go elsewhere for a GET or HEAD.
pub(in crate::fetch) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where to go next, if it may be gone to.
pub(in crate::fetch) fn next(from: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let refuse = |why: String| FetchError::Redirect {
        url: shown(from),
        why,
    };
    let location = headers
        .get(LOCATION)
        .map(|value| spelled(value.as_bytes()))
        .ok_or_else(|| refuse("it names no address".to_owned()))?;
    let mut to = from
        .join(&location)
        .map_err(|e| refuse(format!("its address is malformed ({e})")))?;
    if !matches!(to.scheme(), "http" | "https") || to.host_str().is_none() {
        return Err(refuse(format!("{}: is no web address", to.scheme())));
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(refuse(format!(
            "{} is plain HTTP, and whoever is on the way could change what it sends",
            shown(&to)
        )));
    }
    // A user name in a Location would become an Authorization header.
    if !to.username().is_empty() || to.password().is_some() {
        let cleared = to.set_username("").and_then(|()| to.set_password(None));
        cleared.map_err(|()| refuse("its address holds a password".to_owned()))?;
    }
    Ok(to)
}

/// The address with each byte that is no ASCII as the escape that means it: some servers send such bytes as they are.
fn spelled(address: &[u8]) -> String {
    percent_encoding::percent_encode(address, &OTHERS_STAY).to_string()
}

/// Bytes that are no ASCII are escaped whatever the set.
const OTHERS_STAY: AsciiSet = AsciiSet::EMPTY;

#[cfg(test)]
mod tests {
    use super::*;

    fn to(from: &str, location: &str) -> Result<String, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location.parse().expect("value"));
        next(&from.parse().expect("url"), &headers).map(|u| u.to_string())
    }

    #[test]
    fn addresses_may_hold_bytes_that_are_no_ascii() {
        let to = |location: &[u8]| {
            let mut headers = HeaderMap::new();
            let value = reqwest::header::HeaderValue::from_bytes(location).expect("value");
            headers.insert(LOCATION, value);
            next(&"https://a.example/x".parse().expect("url"), &headers).map(|u| u.to_string())
        };
        for (location, want) in [
            ("/\u{e9}?n=\u{4e2d}".as_bytes(), "/%C3%A9?n=%E4%B8%AD"),
            (b"/\xe9?n=\xff", "/%E9?n=%FF"),
            ("https://a.example/\u{e9}%20%c3".as_bytes(), "/%C3%A9%20%c3"),
        ] {
            let want = format!("https://a.example{want}");
            assert_eq!(to(location).expect("followed"), want);
        }
        let host = to("https://b\u{fc}cher.example/x".as_bytes());
        assert_eq!(host.expect("followed"), "https://xn--bcher-kva.example/x");
    }

    #[test]
    fn where_redirects_may_lead() {
        assert_eq!(
            to("https://a.example/x", "/y?z=1").expect("ok"),
            "https://a.example/y?z=1"
        );
        assert_eq!(
            to("https://a.example/x", "https://cdn.net/y").expect("ok"),
            "https://cdn.net/y"
        );
        assert_eq!(
            to("https://a.example/x", "https://u:p@cdn.net/y").expect("ok"),
            "https://cdn.net/y"
        );
        assert_eq!(
            to("http://a.example/x", "https://a.example/x").expect("ok"),
            "https://a.example/x"
        );
        for bad in ["http://a.example/x", "ftp://a.example/", "file:///x"] {
            assert!(to("https://a.example/x", bad).is_err(), "{bad}");
        }
    }
}
