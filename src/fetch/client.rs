//! One registry host: which scheme it speaks, and requests to it with log-in, redirects and retries.

use super::error::FetchError;
use super::peer::{PeerLine, Trace};
use super::realm::{host_port, same_origin};
use super::retry::{Backoff, Retry};
use super::token::Tokens;
use super::wire::{Lookup, Wire, shown};
use super::{FetchOptions, challenge, coding};
use bytes::Bytes;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

type Observer = Arc<dyn Fn(Retry) + Send + Sync>;

/// A client for one host; cheap to clone. Connects at the first request.
#[derive(Clone)]
pub struct FetchClient {
    pub(super) inner: Arc<Inner>,
    tries: u32,
    /// Whoever watches what the requests of this clone wait for.
    trace: Option<Arc<Trace>>,
}

pub(super) struct Inner {
    pub(super) options: FetchOptions,
    pub(super) tokens: Tokens,
    pub(super) host: String,
    pub(super) wire: Wire,
    pub(super) root: OnceCell<Url>,
    observer: Option<Observer>,
    /// What is known of a host that is asked for many.
    pub(super) line: Option<Arc<PeerLine>>,
}

/// A small answer, read to its end. Its status may be anything that does not pass by itself.
#[derive(Debug)]
pub struct SmallAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The whole body (empty after HEAD), plain if it came as gzip.
    pub body: Bytes,
    /// The body as it came, if it came as gzip.
    pub coded: Option<Bytes>,
    /// Where it came from, after redirects; to resolve links against.
    pub url: Url,
}

impl SmallAnswer {
    /// The answer if its status is a success, else the error that says so.
    pub fn check(self) -> Result<Self, FetchError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(FetchError::Status {
            url: shown(&self.url),
            status: self.status,
            detail: self.detail(),
        })
    }

    /// `: text` of what the body says: its first error (distribution-spec, "Error codes"), else what it gives as its message,
    /// else its text, if it is for people to read; or nothing.
    pub(super) fn detail(&self) -> String {
        let json = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let text = |of: Option<&serde_json::Value>, name: &str| {
            let text = of.and_then(|of| of.get(name)?.as_str());
            text.unwrap_or_default().to_owned()
        };
        let first = json.as_ref().and_then(|json| json.pointer("/errors/0"));
        let parts = [text(first, "code"), text(first, "message")];
        let said = ["message", "detail", "details", "error"].map(|name| text(json.as_ref(), name));
        let kind = self.header("content-type").unwrap_or_default();
        let plain = (json.is_none() && kind.trim_start().starts_with("text/plain"))
            .then(|| String::from_utf8_lossy(&self.body).into_owned());
        let text = std::iter::once(parts.join(" ").trim().to_owned())
            .chain(said)
            .chain(plain)
            .find(|text| !text.trim().is_empty());
        let text = text.unwrap_or_default();
        let text: String = text
            .trim()
            .chars()
            .map(|c| if c.is_whitespace() { ' ' } else { c })
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        if text.is_empty() {
            text
        } else {
            format!(": {text}")
        }
    }

    /// The coding that the body is said to have and still has, if it is none that is understood.
    pub fn coding(&self) -> Option<String> {
        coding::foreign(&self.headers).filter(|_| self.coded.is_none())
    }

    /// How many bytes the plain body has, as far as the headers say.
    pub fn length(&self) -> Option<u64> {
        let said = self.header("content-length")?.trim().parse().ok();
        said.filter(|_| !coding::is_gzip(&self.headers))
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One request: what is asked, and what must stay with its own host.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub authorization: Option<HeaderValue>,
    /// A form to POST; such a request follows no redirect.
    pub form: Option<String>,
    /// The request is for a token service, which may stand at another port of the registry's host.
    pub beside: bool,
    /// How often it is tried; `None`: as the options say.
    pub tries: Option<u32>,
    /// Its answer is small, and comes at once.
    pub is_small: bool,
    /// Whoever watches what it waits for.
    pub trace: Option<Arc<Trace>>,
}

impl Asking {
    pub(super) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            authorization: None,
            form: None,
            beside: false,
            tries: None,
            is_small: false,
            trace: None,
        }
    }
}

impl FetchClient {
    /// A client for `host` (`HOST` or `HOST:PORT`, IPv6 in brackets).
    pub fn new(host: &str, options: FetchOptions) -> Result<Self, FetchError> {
        Self::with_lookup(host, options, &Lookup::system())
    }

    /// A client whose requests to the registry and its token service are let through and judged by `line`.
    pub(super) fn on_line(
        host: &str,
        options: FetchOptions,
        lookup: &Lookup,
        line: Arc<PeerLine>,
    ) -> Result<Self, FetchError> {
        let mut client = Self::with_lookup(host, options, lookup)?;
        if let Some(inner) = Arc::get_mut(&mut client.inner) {
            inner.line = Some(line);
        }
        Ok(client)
    }

    /// The same client, whose requests tell `trace` what they wait for.
    pub(super) fn traced(&self, trace: &Arc<Trace>) -> Self {
        Self {
            trace: Some(trace.clone()),
            ..self.clone()
        }
    }

    /// As [`FetchClient::new`], with another way from names to addresses.
    pub(super) fn with_lookup(
        host: &str,
        options: FetchOptions,
        lookup: &Lookup,
    ) -> Result<Self, FetchError> {
        let bad =
            || FetchError::Options(format!("\"{host}\" is no host name with an optional port"));
        let url: Url = format!("https://{host}/").parse().map_err(|_| bad())?;
        if url.path() != "/"
            || url.query().is_some()
            || !url.username().is_empty()
            || url.host_str().is_none()
        {
            return Err(bad());
        }
        let wire = Wire::new(host, &options, lookup)?;
        let tries = options.tries;
        let inner = Inner {
            options,
            tokens: Tokens::default(),
            host: host.to_owned(),
            wire,
            root: OnceCell::new(),
            observer: None,
            line: None,
        };
        Ok(Self {
            inner: Arc::new(inner),
            tries,
            trace: None,
        })
    }

    /// The same client, whose requests are tried so often only; a server that asks to come back is waited for as before.
    #[must_use]
    pub fn with_tries(&self, tries: u32) -> Self {
        Self {
            tries,
            ..self.clone()
        }
    }

    /// Tells `observer` of every wait before another try. Call it before the client is cloned or used.
    #[must_use]
    pub fn on_retry(mut self, observer: impl Fn(Retry) + Send + Sync + 'static) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.observer = Some(Arc::new(observer));
        }
        self
    }

    /// Waits as before the second try of a request, and tells the observer why: for who finds by a digest that what came
    /// whole is wrong.
    pub async fn again(&self, why: &str) {
        if let Some(wait) = self.inner.backoff(Some(2)).next(None) {
            self.inner.wait(why.to_owned(), wait).await;
        }
    }

    /// GETs `target` (a path with its query, or a whole URL) into memory, at most `limit` bytes. `scope` is what to log
    /// in for, such as `repository:NAME:pull`.
    pub async fn get(
        &self,
        target: &str,
        accept: &str,
        scope: &str,
        limit: u64,
    ) -> Result<SmallAnswer, FetchError> {
        self.small(Method::GET, target, accept, scope, limit).await
    }

    /// HEADs `target`.
    pub async fn head(
        &self,
        target: &str,
        accept: &str,
        scope: &str,
    ) -> Result<SmallAnswer, FetchError> {
        self.small(Method::HEAD, target, accept, scope, 0).await
    }

    /// GETs `target` and lets its body be: what HEAD should say, where it is not served.
    pub async fn head_by_get(&self, target: &str, scope: &str) -> Result<SmallAnswer, FetchError> {
        let asking = self.asking(target).await?;
        let response = self.authorized(asking, scope).await?;
        if !response.status().is_success() {
            return self.inner.read(response, 0).await;
        }
        Ok(SmallAnswer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: Bytes::new(),
            coded: None,
            url: response.url().clone(),
        })
    }

    async fn small(
        &self,
        method: Method,
        target: &str,
        accept: &str,
        scope: &str,
        limit: u64,
    ) -> Result<SmallAnswer, FetchError> {
        let mut asking = self.asking(target).await?;
        asking.method = method;
        asking.is_small = true;
        let accept = HeaderValue::from_str(accept)
            .map_err(|_| FetchError::Options(format!("\"{accept}\" is no Accept header")))?;
        asking.headers.insert(ACCEPT, accept);
        let mut backoff = self.inner.backoff(Some(self.tries));
        loop {
            let response = self.authorized(asking.clone(), scope).await?;
            match self.inner.read(response, limit).await {
                Err(FetchError::Body { url, why }) => {
                    let error = FetchError::Body { url, why };
                    self.inner.pause(&mut backoff, error, None).await?;
                }
                other => return other,
            }
        }
    }

    pub(super) async fn asking(&self, target: &str) -> Result<Asking, FetchError> {
        let base = self.inner.base().await?;
        let url = base.join(target);
        let url =
            url.map_err(|e| FetchError::Options(format!("\"{target}\" is no address: {e}")))?;
        let mut asking = Asking::get(url);
        asking.tries = Some(self.tries);
        asking.trace.clone_from(&self.trace);
        Ok(asking)
    }

    /// Sends with the token of `scope`, logging in when asked to. Nothing of ours goes to another origin.
    pub(super) async fn authorized(
        &self,
        mut asking: Asking,
        scope: &str,
    ) -> Result<Response, FetchError> {
        let base = self.inner.base().await?;
        let ours = same_origin(base, &asking.url);
        let mut logins = 0;
        if ours && self.inner.line.is_some() {
            self.inner.log_in_ahead(base, scope).await?;
        }
        loop {
            asking.authorization = if ours {
                self.inner.tokens.get(scope)
            } else {
                None
            };
            let response = self.inner.send(&asking).await?;
            if response.status() != 401 || !ours || !same_origin(base, response.url()) {
                return Ok(response);
            }
            // Realms for people may be written in any letters.
            let list = response.headers().get_all(WWW_AUTHENTICATE).iter();
            let list: Vec<_> = list
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .flat_map(|text| challenge::parse(&text))
                .collect();
            let had = asking.authorization.take();
            // A kept token may have been withdrawn: one fresh one is asked for before giving up.
            if logins == 2 || (logins == 1 && had.is_some()) {
                let reply = self.inner.read(response, 64 * 1024).await?;
                return Err(FetchError::Unauthorized {
                    host: host_port(base),
                    known: self.inner.options.has_credentials(),
                    why: format!("401{}", reply.detail()),
                });
            }
            if let Some(had) = &had {
                self.inner.tokens.drop_if(scope, had);
            }
            drop(response);
            // Another request may have logged in while this one was under way.
            if self.inner.tokens.get(scope).is_none() {
                self.inner.log_in(base, &list, scope).await?;
                logins += 1;
            } else {
                logins = logins.max(1);
            }
        }
    }
}

impl Inner {
    pub(super) fn backoff(&self, tries: Option<u32>) -> Backoff {
        Backoff::new(self.options.backoff, tries.unwrap_or(self.options.tries))
    }

    /// Waits before another try, or gives up with `error`.
    pub(super) async fn pause(
        &self,
        backoff: &mut Backoff,
        error: FetchError,
        asked: Option<Duration>,
    ) -> Result<(), FetchError> {
        let Some(wait) = backoff.next(asked) else {
            return Err(error);
        };
        self.wait(error.to_string(), wait).await;
        Ok(())
    }

    async fn wait(&self, why: String, wait: Duration) {
        tracing::debug!(%why, ?wait, "asking again");
        if let Some(observer) = &self.observer {
            observer(Retry { why, wait });
        }
        tokio::time::sleep(wait).await;
    }
}
