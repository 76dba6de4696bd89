//! A large body that goes on where it broke (RFC 9110 section 14: `Range`, 206, 416).

use super::client::Client;
use super::error::FetchError;
use super::retry::Backoff;
use super::send::broken;
use super::wire::shown;
use bytes::{Buf, Bytes};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Response, Url};

/// A body under way. Dropping it ends the transfer.
pub struct Download {
    client: Client,
    target: String,
    scope: String,
    url: Url,
    size: u64,
    at: u64,
    /// Bytes of the answer to pass over: the server began earlier than it was asked to.
    skip: u64,
    response: Option<Response>,
    backoff: Backoff,
}

impl Client {
    /// Begins to download `target`, a body of `size` bytes, from byte `offset` on.
    ///
    /// The first answer is waited for, so that a 404 is an error here ([`FetchError::Status`]).
    pub async fn download(
        &self,
        target: &str,
        scope: &str,
        offset: u64,
        size: u64,
    ) -> Result<Download, FetchError> {
        let url = self.asking(target).await?.url;
        let mut download = Download {
            client: self.clone(),
            target: target.to_owned(),
            scope: scope.to_owned(),
            url,
            size,
            at: offset,
            skip: 0,
            response: None,
            backoff: self.inner.backoff(),
        };
        if offset < size {
            download.open().await?;
        }
        Ok(download)
    }
}

impl Download {
    /// Bytes from the body's start that have been handed out or were there before.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The next bytes; `None` at the end, which is at `size` and nowhere else. A body that breaks is asked for again from
    /// where it broke, as often as the options say without a byte between.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if self.at >= self.size {
                return self.end().await;
            }
            let Some(response) = &mut self.response else {
                self.open().await?;
                continue;
            };
            let why = match response.chunk().await {
                Ok(Some(piece)) => match self.take(piece)? {
                    Some(piece) => return Ok(Some(piece)),
                    None => continue,
                },
                Ok(None) => format!("the answer ended after {} of {} bytes", self.at, self.size),
                Err(error) => broken(&error),
            };
            self.response = None;
            let error = FetchError::Body {
                url: shown(&self.url),
                why,
            };
            let inner = self.client.inner.clone();
            inner.pause(&mut self.backoff, error, None).await?;
        }
    }

    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, FetchError> {
        let over = self.skip.min(piece.len() as u64);
        piece.advance(over as usize);
        self.skip -= over;
        if piece.is_empty() {
            return Ok(None);
        }
        self.at += piece.len() as u64;
        if self.at > self.size {
            return Err(self.too_large());
        }
        self.backoff.reset();
        Ok(Some(piece))
    }

    async fn end(&mut self) -> Result<Option<Bytes>, FetchError> {
        if let Some(mut response) = self.response.take() {
            // What breaks here does not matter: all bytes are there, and their digest decides.
            while let Ok(Some(piece)) = response.chunk().await {
                if !piece.is_empty() {
                    return Err(self.too_large());
                }
            }
        }
        Ok(None)
    }

    fn too_large(&self) -> FetchError {
        FetchError::TooLarge {
            url: shown(&self.url),
            limit: self.size,
        }
    }

    async fn open(&mut self) -> Result<(), FetchError> {
        let mut asking = self.client.asking(&self.target).await?;
        asking
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.at > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.at));
            asking.headers.insert(
                RANGE,
                range.map_err(|e| FetchError::Options(e.to_string()))?,
            );
        }
        let response = self.client.authorized(asking, &self.scope).await?;
        let bad = |why: String| FetchError::Body {
            url: shown(&self.url),
            why,
        };
        let begins = match response.status().as_u16() {
            200 => 0,
            206 => response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|v| first_byte(v.to_str().ok()?))
                .ok_or_else(|| bad("a part came without saying which".to_owned()))?,
            _ => {
                let reply = self.client.inner.read(response, 64 * 1024).await?;
                let (status, detail) = (reply.status, reply.detail());
                return Err(FetchError::Status {
                    url: shown(&self.url),
                    status,
                    detail,
                });
            }
        };
        if begins > self.at {
            return Err(bad(format!(
                "asked for bytes from {} on, got them from {begins} on",
                self.at
            )));
        }
        self.skip = self.at - begins;
        self.response = Some(response);
        Ok(())
    }
}

/// The first offset of `Content-Range: bytes FIRST-LAST/TOTAL`.
fn first_byte(header: &str) -> Option<u64> {
    header
        .trim()
        .strip_prefix("bytes")?
        .trim_start()
        .split('-')
        .next()?
        .parse()
        .ok()
}
