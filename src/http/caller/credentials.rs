//! From the `Authorization` header to a grant, and from a missing right to the answer that a client can act on.
//!
//! Decides nothing itself: every yes or no comes from `Auth::authorize`. Wrong credentials are 401 everywhere and never
//! fall back to anonymous.

use crate::auth::{Action, Auth, AuthErrorKind, Grant, Lost, Principal, Resource};
use crate::config::Config;
use crate::http::answer::Fail;
use crate::http::caller::origin::{Caller, host_part};
use crate::http::request::Req;
use crate::repo::Meant;
use crate::types::RepoName;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use std::fmt::Write as _;

/// The grant of a request without credentials.
pub fn anonymous() -> Grant {
    Grant {
        principal: Principal::Anonymous,
        scope: None,
    }
}

/// The name of a principal in the log and in an item's source; empty for anonymous.
pub fn who(principal: &Principal) -> String {
    match principal {
        Principal::Anonymous => String::new(),
        Principal::User(name) => name.as_str().to_owned(),
        Principal::Operator => "operator".to_owned(),
    }
}

/// User name and password of a Basic header value.
pub fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, text) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The value of the `Authorization` header. Two of them, or bytes that are no text, are shown as credentials that do not
/// count: never as none, and never as one of the two, as something between client and server may have read the other.
pub fn shown(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    let single = values.next().is_none();
    Some(value.to_str().ok().filter(|_| single).unwrap_or_default())
}

/// What a challenge asks for where clients know no token service.
const PASSWORD: &str = "Basic realm=\"Dryport\", charset=\"UTF-8\"";

/// The grant of the credentials shown, anonymous if there are none. `scope`: what the challenge of a refusal asks for; none: a
/// name and a password.
pub async fn authenticate(
    auth: &Auth,
    headers: &HeaderMap,
    caller: &Caller,
    config: &Config,
    scope: Option<&str>,
) -> Result<Grant, Fail> {
    let challenge = |error| match scope {
        Some(scope) => challenge(config, caller, scope, error),
        None => PASSWORD.to_owned(),
    };
    let Some(value) = shown(headers) else {
        return Ok(anonymous());
    };
    let (result, error) = if let Some((user, password)) = basic(value) {
        (auth.login(&user, &password, caller.ip).await, None)
    } else if let Some(token) = bearer(value) {
        (
            auth.bearer(token, service(config, caller)).await,
            Some("invalid_token"),
        )
    } else {
        let fail = Fail::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "there must be one Authorization header, and it must be Basic or Bearer",
        );
        return Err(fail.with(WWW_AUTHENTICATE, challenge(None)));
    };
    result.map_err(|e| {
        let unauthorized = e.kind() == AuthErrorKind::Unauthorized;
        let fail = Fail::from(e);
        if unauthorized {
            fail.with(WWW_AUTHENTICATE, challenge(error))
        } else {
            fail
        }
    })
}

/// The name of this token service: the host part of `url`, else of what the client called.
pub fn service<'a>(config: &'a Config, caller: &'a Caller) -> &'a str {
    let url = config
        .url
        .as_deref()
        .and_then(|u| u.split_once("://"))
        .map(|(_, rest)| rest);
    match url
        .and_then(|rest| rest.split('/').next())
        .filter(|host| !host.is_empty())
    {
        Some(host) => host_part(host),
        None => caller.service(),
    }
}

/// A Bearer challenge: where a token is to be had, for what.
pub fn challenge(config: &Config, caller: &Caller, scope: &str, error: Option<&str>) -> String {
    let base = match config.url.as_deref() {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("{}://{}", caller.scheme, caller.host),
    };
    let mut text = format!(
        "Bearer realm=\"{base}/v2/auth\",service=\"{}\"",
        service(config, caller)
    );
    for (key, value) in [("scope", scope), ("error", error.unwrap_or_default())] {
        if !value.is_empty() {
            let _ = write!(text, ",{key}=\"{value}\"");
        }
    }
    text
}

/// The scope a client needs for an action on a repository. Writers get what reading needs along with it, as clients
/// read back what they push.
pub fn scope(action: Action, name: &RepoName) -> String {
    let actions = match action {
        Action::RepoPush | Action::TagWrite => "pull,push",
        Action::RepoDelete => "pull,push,delete",
        _ => "pull",
    };
    format!("repository:{name}:{actions}")
}

/// What the rights of a request on a name are asked on.
fn resource<'a>(asked: &'a RepoName, meant: Option<&'a Meant>) -> Resource<'a> {
    match meant {
        Some(meant) => Resource::Past {
            now: &meant.name,
            asked,
        },
        None => Resource::Repo(asked),
    }
}

impl Req {
    /// 401 with a challenge for `scope`.
    pub fn unauthorized(&self, scope: &str, error: Option<&str>) -> Fail {
        let text = match error {
            Some(_) => "the token does not cover this; ask the token service for a wider one",
            None => "authentication is required",
        };
        Fail::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text)
            .with(WWW_AUTHENTICATE, self.challenge(scope, error))
    }

    fn challenge(&self, scope: &str, error: Option<&str>) -> String {
        if self.asks_password {
            return PASSWORD.to_owned();
        }
        challenge(&self.config, &self.caller, scope, error)
    }

    /// The answer to a body that was ended because the right to send it was.
    pub fn lost(&self, lost: Lost, action: Action, name: &RepoName) -> Fail {
        if lost == Lost::Right && self.grant.principal != Principal::Anonymous {
            let text = format!(
                "the right to push to {name} was taken away while this was sent; nothing of it is committed"
            );
            return Fail::new(StatusCode::FORBIDDEN, "DENIED", text);
        }
        let text = "what this was sent with does not count any more: the account was removed, has another password, or \
             anybody's right to push was taken away; nothing of it is committed";
        let error = self.grant.scope.is_some().then_some("invalid_token");
        let challenge = self.challenge(&scope(action, name), error);
        Fail::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text).with(WWW_AUTHENTICATE, challenge)
    }

    /// What a name of the past means; nothing for an ordinary name.
    pub async fn meant(&self, name: &RepoName) -> Result<Option<Meant>, Fail> {
        if !name.may_be_past() {
            return Ok(None);
        }
        // Rare, and too large to lie in every request's future.
        Ok(Box::pin(self.state.app.repos.meant(name)).await?)
    }

    /// Whether the request may do `action` on `name`. For a name of the past the rights on what it means hold.
    pub async fn may(&self, action: Action, name: &RepoName) -> Result<bool, Fail> {
        let meant = self.meant(name).await?;
        let auth = &self.state.app.auth;
        let resource = resource(name, meant.as_ref());
        Ok(auth.authorize(&self.grant, action, resource).await?)
    }

    /// Whether the user behind the request may, whatever the token's scope says.
    pub async fn user_may(&self, action: Action, name: &RepoName) -> Result<bool, Fail> {
        let meant = self.meant(name).await?;
        let auth = &self.state.app.auth;
        let resource = resource(name, meant.as_ref());
        let may = auth.authorize_user(&self.grant.principal, action, resource);
        Ok(may.await?)
    }

    /// Whether anybody may, without an account.
    pub async fn anybody_may(&self, action: Action, name: &RepoName) -> Result<bool, Fail> {
        let meant = self.meant(name).await?;
        let auth = &self.state.app.auth;
        let resource = resource(name, meant.as_ref());
        let may = auth.authorize_user(&Principal::Anonymous, action, resource);
        Ok(may.await?)
    }

    /// Fails unless the request may do `action` on `name`: 401 where other credentials or a wider token would help, 404
    /// where the caller must not learn whether the repository exists, 403 where the caller may read it anyway.
    pub async fn require(&self, action: Action, name: &RepoName) -> Result<(), Fail> {
        if self.may(action, name).await? {
            return Ok(());
        }
        let scope = scope(action, name);
        if self.grant.scope.is_some() && self.user_may(action, name).await? {
            return Err(self.unauthorized(&scope, Some("insufficient_scope")));
        }
        if self.grant.principal == Principal::Anonymous {
            return Err(self.unauthorized(&scope, None));
        }
        if action == Action::RepoPull || !self.user_may(Action::RepoPull, name).await? {
            return Err(Fail::name_unknown(name));
        }
        let text = format!(
            "you may read {name} but not change it; ask an administrator for the role writer"
        );
        Err(Fail::new(StatusCode::FORBIDDEN, "DENIED", text))
    }

    /// Fails unless the request may do `action` on the server; `scope` is what the challenge asks for.
    pub async fn require_server(&self, action: Action, scope: &str) -> Result<(), Fail> {
        let auth = &self.state.app.auth;
        if auth
            .authorize(&self.grant, action, Resource::Server)
            .await?
        {
            return Ok(());
        }
        let wider = self.grant.scope.is_some()
            && auth
                .authorize_user(&self.grant.principal, action, Resource::Server)
                .await?;
        if wider || self.grant.principal == Principal::Anonymous {
            return Err(self.unauthorized(scope, wider.then_some("insufficient_scope")));
        }
        Err(Fail::new(
            StatusCode::FORBIDDEN,
            "DENIED",
            "this needs the role admin",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values() {
        assert_eq!(basic("Basic dTpwOnE="), Some(("u".into(), "p:q".into())));
        assert_eq!(basic("basic dTpw"), Some(("u".into(), "p".into())));
        assert_eq!(basic("Basic !!"), None);
        assert_eq!(basic("Bearer dTpw"), None);
        assert_eq!(bearer("bearer  x"), Some("x"));
        assert_eq!(bearer("Basic x"), None);
    }
}
