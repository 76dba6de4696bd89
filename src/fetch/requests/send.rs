//! One request on the wire: the scheme to speak, redirects, tries, and reading small answers.

use crate::fetch::client::{Asking, Inner, SmallAnswer};
use crate::fetch::error::FetchError;
use crate::fetch::peer::{Trace, race};
use crate::fetch::realm::{host_port, is_loopback, same_origin};
use crate::fetch::wire::{Inward, causes, no_answer, refused, shown, was_closed};
use crate::fetch::{coding, redirect, retry};
use bytes::BytesMut;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// As much of an error's body is read, to tell what it says.
const ERROR_MAX: u64 = 64 * 1024;

impl Inner {
    /// The registry's root URL, found at the first request: HTTPS, then, for this machine only, HTTP.
    pub(in crate::fetch) async fn base(&self) -> Result<&Url, FetchError> {
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
        // An upstream's scheme is said.
        if !is_loopback(&secure) || self.line.is_some() {
            return Ok(secure);
        }
        let mut backoff = self.backoff(None);
        loop {
            let ping = async |url: &Url| {
                let path = url.join("v2/").unwrap_or_else(|_| url.clone());
                let client = self.wire.client(&path, false);
                let client = client.map_err(|e| self.inward(&path, None, &e))?;
                let answer = client.get(path.clone()).send().await;
                answer.map_err(|e| no_answer(url, &e))
            };
            let Err(error) = ping(&secure).await else {
                return Ok(secure);
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
    pub(in crate::fetch) async fn send(&self, asking: &Asking) -> Result<Response, FetchError> {
        let mut backoff = self.backoff(asking.tries);
        // Who says when to come back is believed.
        let mut patient = self.backoff(None);
        loop {
            let (error, asked) = match self.follow(asking).await {
                Ok(response) if retry::is_passing(response.status()) => {
                    let asked = retry::asked(response.headers());
                    let url = shown(response.url());
                    let status = response.status().as_u16();
                    let detail = self
                        .read(response, 64 * 1024)
                        .await
                        .map(|r| r.detail())
                        .unwrap_or_default();
                    let is_long = |asked: &Duration| *asked > retry::LONGEST && self.line.is_none();
                    if let Some(long) = asked.filter(is_long) {
                        return Err(FetchError::Wait {
                            url,
                            seconds: long.as_secs(),
                            detail: format!(" ({status}{detail})"),
                        });
                    }
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
            let backoff = if asked.is_some() {
                &mut patient
            } else {
                &mut backoff
            };
            self.pause(backoff, error, asked).await?;
        }
    }

    async fn follow(&self, asking: &Asking) -> Result<Response, FetchError> {
        let mut url = asking.url.clone();
        let mut from: Option<Url> = None;
        for _ in 0..=redirect::MOST {
            let response = self.judged(asking, &url, from.as_ref()).await?;
            if !redirect::is_redirect(response.status()) || asking.form.is_some() {
                return Ok(response);
            }
            let next = redirect::next(&url, response.headers())?;
            from = Some(std::mem::replace(&mut url, next));
        }
        Err(FetchError::Redirect {
            url: shown(&asking.url),
            why: format!("more than {} in a row", redirect::MOST),
        })
    }

    /// One request to `url`, which `from` may have led to; whoever keeps a line on the host lets it through and judges it.
    async fn judged(
        &self,
        asking: &Asking,
        url: &Url,
        from: Option<&Url>,
    ) -> Result<Response, FetchError> {
        let line = self.line.as_ref();
        let Some(line) = line.filter(|_| same_origin(&asking.url, url)) else {
            return self.transmit(asking, url, from).await;
        };
        line.admit(asking).await?;
        let sent = Instant::now();
        let waits = asking.trace.as_ref().map(|trace| trace.waits(sent));
        let answer = self.transmit(asking, url, from).await;
        drop(waits);
        match &answer {
            Ok(response) => line.answered(asking, response.status(), response.headers(), sent),
            Err(error) => line.failed(error),
        }
        answer
    }

    /// Sends one request and waits for the head of its answer.
    async fn transmit(
        &self,
        asking: &Asking,
        url: &Url,
        from: Option<&Url>,
    ) -> Result<Response, FetchError> {
        let refuse = |e: &Inward| self.inward(url, from, e);
        let beside = asking.beside && from.is_none();
        let client = self.wire.client(url, beside).map_err(|e| refuse(&e))?;
        let mut may_repeat = self.line.is_some();
        loop {
            let request = asking.request(client, url).send();
            let answer = match self.options.first_byte {
                None => request.await,
                Some(limit) => {
                    let limit = self.options.connect_timeout + limit;
                    let late = |_| FetchError::Connect {
                        url: shown(url),
                        why: format!("no answer came within {} s", limit.as_secs().max(1)),
                        is_silent: false,
                    };
                    tokio::time::timeout(limit, request).await.map_err(late)?
                }
            };
            match answer {
                // The server gave up an idle connection while the request was on its way.
                Err(e) if may_repeat && was_closed(&e) => may_repeat = false,
                Err(e) => {
                    return Err(refused(&e).map_or_else(|| no_answer(url, &e), |i| refuse(&i)));
                }
                Ok(response) => return Ok(response),
            }
        }
    }

    /// As [`Inner::exchange`]; where a line is kept on the host, a second request goes out beside one that is late.
    pub(in crate::fetch) async fn hedged(
        &self,
        mut asking: Asking,
        limit: u64,
    ) -> Result<SmallAnswer, FetchError> {
        let Some(line) = &self.line else {
            return self.exchange(&asking, limit).await;
        };
        let trace = Arc::new(Trace::now());
        asking.trace = Some(Arc::clone(&trace));
        let second = Asking {
            trace: None,
            ..asking.clone()
        };
        let first = Box::pin(self.exchange(&asking, limit));
        let late = line.is_late(&trace);
        race(first, late, || async move {
            self.exchange(&second, limit).await
        })
        .await
    }

    /// The error about a host where only the operator may send us; `from` redirected there, else the registry named it.
    pub(in crate::fetch) fn inward(
        &self,
        url: &Url,
        from: Option<&Url>,
        why: &Inward,
    ) -> FetchError {
        FetchError::Inward {
            by: from.map_or_else(|| self.host.clone(), shown),
            host: host_port(url),
            address: why.address,
            what: why.what,
        }
    }

    /// Sends one request that needs no log-in and reads its answer.
    pub(in crate::fetch) async fn exchange(
        &self,
        asking: &Asking,
        limit: u64,
    ) -> Result<SmallAnswer, FetchError> {
        let response = self.send(asking).await?;
        self.read(response, limit).await
    }

    /// Reads a body of at most `limit` bytes; of an error's body as much as fits.
    pub(in crate::fetch) async fn read(
        &self,
        mut response: Response,
        limit: u64,
    ) -> Result<SmallAnswer, FetchError> {
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
        let came = body.freeze();
        let limit = limit.max(if status.is_success() { 0 } else { ERROR_MAX });
        let (body, coded) = match coding::plain(&came, limit) {
            Some(Ok(plain)) => (plain, Some(came)),
            Some(Err(_)) if status.is_success() => {
                return Err(FetchError::TooLarge {
                    url: shown(&url),
                    limit,
                });
            }
            _ => (came, None),
        };
        Ok(SmallAnswer {
            status: status.as_u16(),
            headers,
            body,
            coded,
            url,
        })
    }
}

impl Asking {
    fn request(&self, client: &Client, url: &Url) -> RequestBuilder {
        let method = if self.form.is_some() {
            Method::POST
        } else {
            self.method.clone()
        };
        let request = client.request(method, url.clone());
        let mut request = request.headers(self.headers.clone());
        // Nothing of ours goes to another origin.
        let value = self.authorization.clone();
        if let Some(value) = value.filter(|_| same_origin(&self.url, url)) {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(form) = &self.form {
            request = request.body(form.clone());
        }
        request
    }
}

/// A body that stopped before its end.
pub(in crate::fetch) fn broken(error: &reqwest::Error) -> String {
    format!("the answer broke off ({})", causes(error))
}
