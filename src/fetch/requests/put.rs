//! Another server of this sort: PUT of a file as a stream, HEAD, and operations in JSON. Each is sent once, with the credentials from the start: what
//! was sent cannot be sent again, and what is looked for may be there for those alone who may see it.

use crate::fetch::client::{FetchClient, SmallAnswer};
use crate::fetch::credentials::Credential;
use crate::fetch::error::FetchError;
use crate::fetch::wire::no_answer;
use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, RequestBuilder};
use std::io;

/// As much of an answer is read.
const ANSWER: u64 = 64 << 10;
/// As much of an answer to an operation.
const LISTS: u64 = 64 << 20;

impl FetchClient {
    /// PUTs `len` bytes to `target` (a path), and answers whatever the server says; it follows no redirect.
    pub async fn put(
        &self,
        target: &str,
        len: u64,
        body: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    ) -> Result<SmallAnswer, FetchError> {
        let inner = &self.inner;
        let url = self.asking(target).await?.url;
        let client = inner.wire.client(&url, false);
        let client = client.map_err(|e| inner.inward(&url, None, &e))?;
        let request = client
            .put(url.clone())
            .header(CONTENT_LENGTH, HeaderValue::from(len))
            .body(Body::wrap_stream(body));
        let response = self.with_login(request).await?.send().await;
        let response = response.map_err(|e| no_answer(&url, &e))?;
        inner.read(response, ANSWER).await
    }

    /// Sends a request with a body of JSON, or without one, to `target` (a path with its query) with the credentials, and answers
    /// whatever the server says, at most 64 MiB; it follows no redirect and is sent once.
    pub async fn call(
        &self,
        method: &str,
        target: &str,
        json: Option<Vec<u8>>,
    ) -> Result<SmallAnswer, FetchError> {
        let inner = &self.inner;
        let url = self.asking(target).await?.url;
        let client = inner.wire.client(&url, false);
        let client = client.map_err(|e| inner.inward(&url, None, &e))?;
        let method = Method::from_bytes(method.as_bytes());
        let method =
            method.map_err(|e| FetchError::Options(format!("this is no method of HTTP: {e}")))?;
        let mut request = client.request(method, url.clone());
        if let Some(json) = json {
            request = request.header(CONTENT_TYPE, "application/json").body(json);
        }
        let response = self.with_login(request).await?.send().await;
        let response = response.map_err(|e| no_answer(&url, &e))?;
        inner.read(response, LISTS).await
    }

    /// HEADs `target` (a path) with the credentials, and answers whatever the server says; it follows no redirect.
    pub async fn about(&self, target: &str) -> Result<SmallAnswer, FetchError> {
        let inner = &self.inner;
        let url = self.asking(target).await?.url;
        let client = inner.wire.client(&url, false);
        let client = client.map_err(|e| inner.inward(&url, None, &e))?;
        let request = self.with_login(client.head(url.clone())).await?;
        let response = request.send().await.map_err(|e| no_answer(&url, &e))?;
        inner.read(response, 0).await
    }

    async fn with_login(&self, request: RequestBuilder) -> Result<RequestBuilder, FetchError> {
        match self.inner.options.credential(&self.inner.host).await {
            Some(Credential::Basic { user, password }) => {
                Ok(request.basic_auth(user, Some(password)))
            }
            Some(Credential::IdentityToken(_)) => {
                let text = "the login for this server is a token of a registry; it takes a name and a password";
                Err(FetchError::Options(text.to_owned()))
            }
            None => Ok(request),
        }
    }
}
