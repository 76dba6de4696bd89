//! From the `Authorization` header to a grant, and the challenge for another.
//!
//! Decides nothing itself. Wrong credentials are 401 everywhere and never fall back to anonymous.

use super::origin::{Caller, host_part};
use crate::auth::{Action, AuthErrorKind, Grant, Principal};
use crate::config::Config;
use crate::http::answer::Fail;
use crate::http::request::Req;
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

/// The grant of the credentials that a request shows, anonymous if there are none. `scope` is that of the token which the
/// challenge of a refusal asks for.
pub async fn authenticate(req: &Req, scope: impl Fn() -> String) -> Result<Grant, Fail> {
    let Some(value) = shown(&req.headers) else {
        return Ok(anonymous());
    };
    let auth = &req.state.app.auth;
    let (result, error) = if let Some((user, password)) = basic(value) {
        (auth.login(&user, &password, req.caller.ip).await, None)
    } else if let Some(token) = bearer(value) {
        let service = service(&req.config, &req.caller);
        (auth.bearer(token, service).await, Some("invalid_token"))
    } else {
        let text = "there must be one Authorization header, and it must be Basic or Bearer";
        let fail = Fail::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text);
        return Err(fail.with(WWW_AUTHENTICATE, req.challenge(&scope(), None)));
    };
    result.map_err(|e| {
        let unauthorized = e.kind() == AuthErrorKind::Unauthorized;
        let fail = Fail::from(e);
        if unauthorized {
            fail.with(WWW_AUTHENTICATE, req.challenge(&scope(), error))
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
