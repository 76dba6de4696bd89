//! Logging in: what a challenge asks for, and the tokens until they expire (distribution's token specification).

use super::challenge::Challenge;
use super::credentials::Credential;
use super::realm;
use crate::fetch::answers::TokenAnswer;
use crate::fetch::client::{Asking, Inner, SmallAnswer};
use crate::fetch::coding;
use crate::fetch::error::FetchError;
use crate::fetch::wire::shown;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// A token this near to its end is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
const ANSWER_MAX: u64 = 256 * 1024;
/// No more values are kept, so that whoever asks for many names fills no memory.
const HELD_MAX: usize = 1000;

/// A log-in under way, for all who wait for it.
type Flight = Arc<OnceCell<Result<(), FetchError>>>;

/// `Authorization` values by scope.
#[derive(Default)]
pub(in crate::fetch) struct Tokens {
    held: Mutex<HashMap<String, (HeaderValue, Option<Instant>)>>,
    flights: Mutex<HashMap<String, Flight>>,
    /// The last challenge that a token was given for, without its scope.
    known: Mutex<Option<Challenge>>,
}

impl Tokens {
    /// The value for a scope, if it is still good.
    pub(in crate::fetch) fn get(&self, scope: &str) -> Option<HeaderValue> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, ends) = held.get(scope)?;
        if ends.is_some_and(|ends| ends <= Instant::now()) {
            held.remove(scope);
            return None;
        }
        Some(value.clone())
    }

    /// Forgets a value that was refused, unless another request has renewed it meanwhile.
    pub(in crate::fetch) fn drop_if(&self, scope: &str, refused: &HeaderValue) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(scope).is_some_and(|(value, _)| value == refused) {
            held.remove(scope);
        }
    }

    fn put(&self, scope: &str, value: HeaderValue, ends: Option<Instant>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= HELD_MAX {
            let now = Instant::now();
            held.retain(|_, (_, ends)| ends.is_none_or(|ends| ends > now));
        }
        if held.len() >= HELD_MAX {
            held.clear();
        }
        held.insert(scope.to_owned(), (value, ends));
    }

    fn known<T>(&self, with: impl FnOnce(&mut Option<Challenge>) -> T) -> T {
        with(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The log-in for a scope that others may wait for already.
    fn flight(&self, scope: &str) -> Flight {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that everybody has left.
        flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        flights.entry(scope.to_owned()).or_default().clone()
    }

    /// Whoever comes from now on begins another.
    fn landed(&self, scope: &str) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(scope);
    }
}

impl Inner {
    /// Answers the challenges of the registry at `base` and keeps the result for `scope`: once for any number of requests that
    /// wait for it, which share its failure, too.
    pub(in crate::fetch) async fn log_in(
        &self,
        base: &Url,
        list: &[Challenge],
        scope: &str,
    ) -> Result<(), FetchError> {
        let flight = self.tokens.flight(scope);
        let result = flight.get_or_init(|| async {
            let result = match self.tokens.get(scope) {
                // Another one landed a moment ago.
                Some(_) => Ok(()),
                None => Box::pin(self.answer(base, list, scope)).await,
            };
            self.tokens.landed(scope);
            result
        });
        result.await.clone()
    }

    /// Logs in before the registry asks for it, as it asked before: that saves each new name a 401. A token service that
    /// refuses is left to the registry's own word.
    pub(in crate::fetch) async fn log_in_ahead(
        &self,
        base: &Url,
        scope: &str,
    ) -> Result<(), FetchError> {
        let known = self.tokens.known(|known| known.clone());
        let Some(challenge) = known.filter(|_| self.tokens.get(scope).is_none()) else {
            return Ok(());
        };
        match self.log_in(base, &[challenge], scope).await {
            Err(FetchError::Unauthorized { .. }) => {
                self.tokens.known(|known| *known = None);
                Ok(())
            }
            done => done,
        }
    }

    async fn answer(&self, base: &Url, list: &[Challenge], scope: &str) -> Result<(), FetchError> {
        let credential = self.options.credential(&self.host).await;
        let refused = |why: &str| FetchError::Unauthorized {
            host: realm::host_port(base),
            known: credential.is_some(),
            why: why.to_owned(),
        };
        if let Some(bearer) = list.iter().find(|c| c.scheme == "bearer") {
            let credential = credential.as_ref();
            let (value, ends) = self.bearer(base, bearer, scope, credential).await?;
            self.tokens.put(scope, value, Some(ends));
            let mut again = bearer.clone();
            again.params.retain(|(name, _)| name != "scope");
            self.tokens.known(|known| *known = Some(again));
            return Ok(());
        }
        if list.iter().all(|c| c.scheme != "basic") {
            return Err(refused("it offers neither Bearer nor Basic log-in"));
        }
        match &credential {
            Some(Credential::Basic { user, password }) => {
                self.tokens.put(scope, basic(user, password)?, None);
                Ok(())
            }
            Some(Credential::IdentityToken(_)) => Err(refused(
                "it wants a user and password, not an identity token",
            )),
            None => Err(refused("it wants a user and password")),
        }
    }

    async fn bearer(
        &self,
        base: &Url,
        asked: &Challenge,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<(HeaderValue, Instant), FetchError> {
        let unusable = |why: String| FetchError::Realm {
            registry: realm::host_port(base),
            why,
        };
        let text = asked
            .get("realm")
            .ok_or_else(|| unusable("it gives no address".to_owned()))?;
        let url = base
            .join(text)
            .map_err(|e| unusable(format!("its address is malformed ({e})")))?;
        let with = credential.is_some();
        realm::check(base, &url, &self.options.extra_realm_hosts, with)?;
        let scope = asked
            .get("scope")
            .filter(|s| !s.is_empty())
            .unwrap_or(scope);
        let mut asking = token_request(url.clone(), asked.get("service"), scope, credential)?;
        asking.beside = true;
        asking.is_small = true;
        let began = Instant::now();
        let reply = self.hedged(asking, ANSWER_MAX).await?;
        if matches!(reply.status, 400 | 401 | 403) {
            return Err(FetchError::Unauthorized {
                host: realm::host_port(base),
                known: with,
                why: format!(
                    "the token service answered {}{}",
                    reply.status,
                    reply.detail()
                ),
            });
        }
        let (token, life) = token_of(&url, &reply.check()?)?;
        // A very short life still serves the request that asked for it.
        let ends = began + life.saturating_sub(MARGIN).max(life / 2);
        Ok((secret(&format!("Bearer {token}"))?, ends))
    }
}

/// The token of an answer, and how long it lives.
fn token_of(url: &Url, reply: &SmallAnswer) -> Result<(String, Duration), FetchError> {
    let bad = |why: &str| FetchError::Body {
        url: shown(url),
        why: why.to_owned(),
    };
    let answer =
        TokenAnswer::read(&reply.body).ok_or_else(|| match coding::foreign(&reply.headers) {
            Some(coding) => FetchError::Coded {
                url: shown(url),
                coding,
            },
            None => bad("the token answer is no JSON object"),
        })?;
    let token = answer.token;
    let token = token.ok_or_else(|| bad("the token answer holds no token"))?;
    Ok((token, Duration::from_secs(answer.life)))
}

fn token_request(
    mut url: Url,
    service: Option<&str>,
    scope: &str,
    credential: Option<&Credential>,
) -> Result<Asking, FetchError> {
    let scopes = || scope.split(' ').filter(|s| !s.is_empty());
    if let Some(Credential::IdentityToken(token)) = credential {
        let mut form = url.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "dryport")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("scope", scope)
            .append_pair("refresh_token", token);
        let body = form.query().unwrap_or_default().to_owned();
        let mut asking = Asking::get(url);
        asking.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        asking.form = Some(body);
        return Ok(asking);
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for scope in scopes() {
            query.append_pair("scope", scope);
        }
        if let Some(Credential::Basic { user, .. }) = credential {
            query.append_pair("account", user);
        }
    }
    let mut asking = Asking::get(url);
    if let Some(Credential::Basic { user, password }) = credential {
        asking.authorization = Some(basic(user, password)?);
    }
    Ok(asking)
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, FetchError> {
    secret(&format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    ))
}

fn secret(text: &str) -> Result<HeaderValue, FetchError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        FetchError::Options("the token or password holds characters that no header may".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}
