//! An HTTP client, and the answers that it reads.

use serde_json::Value;
use std::time::Duration;

/// How long a client waits for one whole answer.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

/// One answer, read to its end.
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// A header's text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The first error code of the spec's error body.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["errors"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_string()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }

    /// Demands a status and a code of the spec.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.code(), code, "{}", reply.text());
        reply
    }

    /// The path and query of Location.
    #[track_caller]
    pub fn location(&self) -> String {
        let location = self.header("location");
        assert!(!location.is_empty(), "no Location: {:?}", self.headers);
        match location.split_once("://") {
            Some((_, rest)) => rest[rest.find('/').unwrap()..].to_string(),
            None => location.to_string(),
        }
    }

    /// The path and query of `Link: <...>; rel="next"`.
    pub fn next(&self) -> Option<String> {
        let link = self.header("link");
        let (target, rel) = link.strip_prefix('<')?.split_once('>')?;
        assert!(
            rel.contains("rel=\"next\"") || rel.contains("rel=next"),
            "{link}"
        );
        Some(match target.split_once("://") {
            Some((_, rest)) => rest[rest.find('/').unwrap()..].to_string(),
            None => target.to_string(),
        })
    }
}

/// An HTTP client of one account; follows no redirect and knows no proxy.
#[derive(Clone)]
pub struct Client {
    pub(super) base: String,
    pub(super) auth: Option<String>,
    pub(super) http: reqwest::Client,
}

impl Client {
    pub(super) fn new(base: String, auth: Option<String>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self { base, auth, http }
    }

    pub(super) async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Option<Reply> {
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(auth) = &self.auth {
            request = request.header("authorization", auth);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.body(body);
        }
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Some(Reply {
            status,
            headers,
            body: answer.bytes().await.ok()?.to_vec(),
        })
    }

    pub async fn maybe(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Reply> {
        self.try_send(method, path, headers, body.to_vec()).await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.try_send(method, path, headers, body.to_vec())
            .await
            .unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub async fn head(&self, path: &str) -> Reply {
        self.send("HEAD", path, &[], b"").await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], b"").await
    }

    pub async fn post(&self, path: &str) -> Reply {
        self.send("POST", path, &[("content-length", "0")], b"")
            .await
    }
}

/// A path with one more query parameter.
pub fn with_query(path: &str, query: &str) -> String {
    format!(
        "{path}{}{query}",
        if path.contains('?') { '&' } else { '?' }
    )
}
