//! PUT of a stream: sent once, with the credentials from the start, as what was sent cannot be sent again.

use super::client::{Client, Reply};
use super::credentials::Credential;
use super::error::FetchError;
use super::wire::no_answer;
use bytes::Bytes;
use futures_util::Stream;
use reqwest::Body;
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use std::io;

/// As much of an answer is read.
const ANSWER: u64 = 64 << 10;

impl Client {
    /// PUTs `len` bytes to `target` (a path), and answers whatever the server says; it follows no redirect.
    pub async fn put(
        &self,
        target: &str,
        len: u64,
        body: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    ) -> Result<Reply, FetchError> {
        let inner = &self.inner;
        let url = self.asking(target).await?.url;
        let client = inner.wire.client(&url, false);
        let client = client.map_err(|e| inner.inward(&url, None, &e))?;
        let mut request = client
            .put(url.clone())
            .header(CONTENT_LENGTH, HeaderValue::from(len))
            .body(Body::wrap_stream(body));
        match &inner.options.credentials {
            Some(Credential::Basic { user, password }) => {
                request = request.basic_auth(user, Some(password));
            }
            Some(Credential::IdentityToken(_)) => {
                let text = "the login for this server is a token of a registry; files are pushed with a name and a password";
                return Err(FetchError::Options(text.to_owned()));
            }
            None => {}
        }
        let response = request.send().await.map_err(|e| no_answer(&url, &e))?;
        inner.read(response, ANSWER).await
    }
}
