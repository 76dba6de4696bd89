//! One request on the wire: the scheme to speak, redirects, tries, and reading small answers.

use super::client::{Asking, Inner, Reply};
use super::error::FetchError;
use super::realm::{is_loopback, same_origin};
use super::wire::{causes, no_answer, shown};
use super::{redirect, retry};
use bytes::BytesMut;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Response, Url};

/// As much of an error's body is read, to tell what it says.
const ERROR_MAX: u64 = 64 * 1024;

impl Inner {
    /// The registry's root URL, found at the first request: HTTPS, then, for this machine only, HTTP.
    pub(super) async fn base(&self) -> Result<&Url, FetchError> {
        self.root.get_or_try_init(|| self.probe()).await
    }

    fn address(&self, scheme: &str) -> Result<Url, FetchError> {
        let url = format!("{scheme}://{}/", self.host).parse();
        url.map_err(|_| FetchError::Options(format!("\"{}\" is no host name", self.host)))
    }

    async fn probe(&self) -> Result<Url, FetchError> {
        if self.options.plain_http {
            return self.address("http");
        }
        let secure = self.address("https")?;
        if !is_loopback(&secure) {
            return Ok(secure);
        }
        let mut backoff = self.backoff();
        loop {
            let ping = |url: &Url| {
                let path = url.join("v2/").unwrap_or_else(|_| url.clone());
                self.wire.client(&path).get(path.clone()).send()
            };
            let error = match ping(&secure).await {
                Ok(_) => return Ok(secure),
                Err(e) => no_answer(&secure, &e),
            };
            if matches!(error, FetchError::Certificate { .. }) {
                return Err(error);
            }
            let plain = self.address("http")?;
            if ping(&plain).await.is_ok() {
                return Ok(plain);
            }
            self.pause(&mut backoff, error, None).await?;
        }
    }

    /// Sends, follows redirects, and tries again while the failure may pass.
    pub(super) async fn send(&self, asking: &Asking) -> Result<Response, FetchError> {
        let mut backoff = self.backoff();
        loop {
            let (error, asked) = match self.follow(asking).await {
                Ok(response) if retry::is_passing(response.status()) => {
                    let asked = retry::asked(response.headers());
                    let url = shown(response.url());
                    if let Some(long) = asked.filter(|a| *a > retry::LONGEST) {
                        return Err(FetchError::Wait {
                            url,
                            seconds: long.as_secs(),
                        });
                    }
                    let status = response.status().as_u16();
                    let detail = self
                        .read(response, 64 * 1024)
                        .await
                        .map(|r| r.detail())
                        .unwrap_or_default();
                    (
                        FetchError::Status {
                            url,
                            status,
                            detail,
                        },
                        asked,
                    )
                }
                Ok(response) => return Ok(response),
                Err(error @ FetchError::Connect { .. }) => (error, None),
                Err(error) => return Err(error),
            };
            self.pause(&mut backoff, error, asked).await?;
        }
    }

    async fn follow(&self, asking: &Asking) -> Result<Response, FetchError> {
        let mut url = asking.url.clone();
        for _ in 0..=redirect::MOST {
            let method = if asking.form.is_some() {
                Method::POST
            } else {
                asking.method.clone()
            };
            let mut request = self
                .wire
                .client(&url)
                .request(method, url.clone())
                .headers(asking.headers.clone());
            if let Some(value) = asking
                .authorization
                .clone()
                .filter(|_| same_origin(&asking.url, &url))
            {
                request = request.header(AUTHORIZATION, value);
            }
            if let Some(form) = &asking.form {
                request = request.body(form.clone());
            }
            let response = request.send().await.map_err(|e| no_answer(&url, &e))?;
            if !redirect::is_redirect(response.status()) || asking.form.is_some() {
                return Ok(response);
            }
            url = redirect::next(&url, response.headers())?;
        }
        Err(FetchError::Redirect {
            url: shown(&asking.url),
            why: format!("more than {} in a row", redirect::MOST),
        })
    }

    /// Sends one request that needs no log-in and reads its answer.
    pub(super) async fn exchange(&self, asking: &Asking, limit: u64) -> Result<Reply, FetchError> {
        let response = self.send(asking).await?;
        self.read(response, limit).await
    }

    /// Reads a body of at most `limit` bytes; of an error's body as much as fits.
    pub(super) async fn read(
        &self,
        mut response: Response,
        limit: u64,
    ) -> Result<Reply, FetchError> {
        let (status, url) = (response.status(), response.url().clone());
        let headers = response.headers().clone();
        let mut body = BytesMut::new();
        loop {
            let piece = response.chunk().await;
            let piece = piece.map_err(|e| FetchError::Body {
                url: shown(&url),
                why: broken(&e),
            })?;
            let Some(piece) = piece else { break };
            if (body.len() + piece.len()) as u64
                > limit.max(if status.is_success() { 0 } else { ERROR_MAX })
            {
                if !status.is_success() {
                    break;
                }
                return Err(FetchError::TooLarge {
                    url: shown(&url),
                    limit,
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Reply {
            status: status.as_u16(),
            headers,
            body: body.freeze(),
            url,
        })
    }
}

/// A body that stopped before its end.
pub(super) fn broken(error: &reqwest::Error) -> String {
    format!("the answer broke off ({})", causes(error))
}
