//! Files on another server of this sort: PUT of a stream, and HEAD. Each is sent once, with the credentials from the start: what
//! was sent cannot be sent again, and what is looked for may be there for those alone who may see it.

use super::client::{Client, Reply};
use super::credentials::Credential;
use super::error::FetchError;
use super::wire::no_answer;
use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Body, RequestBuilder};
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
        let request = client
            .put(url.clone())
            .header(CONTENT_LENGTH, HeaderValue::from(len))
            .body(Body::wrap_stream(body));
        let response = self.with_login(request)?.send().await;
        let response = response.map_err(|e| no_answer(&url, &e))?;
        inner.read(response, ANSWER).await
    }

    /// HEADs `target` (a path) with the credentials, and answers whatever the server says; it follows no redirect.
    pub async fn about(&self, target: &str) -> Result<Reply, FetchError> {
        let inner = &self.inner;
        let url = self.asking(target).await?.url;
        let client = inner.wire.client(&url, false);
        let client = client.map_err(|e| inner.inward(&url, None, &e))?;
        let request = self.with_login(client.head(url.clone()))?;
        let response = request.send().await.map_err(|e| no_answer(&url, &e))?;
        inner.read(response, 0).await
    }

    fn with_login(&self, request: RequestBuilder) -> Result<RequestBuilder, FetchError> {
        match &self.inner.options.credentials {
            Some(Credential::Basic { user, password }) => {
                Ok(request.basic_auth(user, Some(password)))
            }
            Some(Credential::IdentityToken(_)) => {
                let text = "the login for this server is a token of a registry; files are pushed with a name and a password";
                Err(FetchError::Options(text.to_owned()))
            }
            None => Ok(request),
        }
    }
}
