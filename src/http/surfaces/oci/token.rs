//! The token service `/v2/auth`: docker's GET form and the `OAuth2` POST form (distribution, "Token Authentication").
//!
//! Anonymous clients get a token too, with whatever anonymous may do, since `GET /v2/` sends every client here.

use crate::auth::{AuthError, AuthErrorKind, Issued, Principal, Scope};
use crate::http::answer::Fail;
use crate::http::caller::credentials::{anonymous, basic, service, shown};
use crate::http::caller::origin::HOST_MAX;
use crate::http::log::audit;
use crate::http::request::{Incoming, Query, QueryError, Req};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

/// A form is a few short fields.
const FORM_MAX: u64 = 64 * 1024;

/// GET and POST of `/v2/auth`. Sets the principal of `req`, for the log.
pub async fn answer(req: &mut Req, body: &mut Incoming) -> Result<Response<Body>, Fail> {
    match req.method {
        Method::GET | Method::HEAD => {
            // Credentials are read here alone: a bearer token is none for the token service.
            req.grant.principal = from_header(req).await?;
            let query = req.query.clone();
            issue(req, &query).await
        }
        Method::POST => {
            // The form says who asks; a header beside it that does not count is refused all the same.
            from_header(req).await?;
            let form = body.collect(FORM_MAX).await?;
            let form = form.ok_or_else(|| Fail::bad("UNAUTHORIZED", "the form is too large"))?;
            let form = Query::parse(&String::from_utf8_lossy(&form)).map_err(too_many)?;
            let asks = from_form(req, &form).await;
            if let (Err(fail), None) = (&asks, shown(&req.headers)) {
                Box::pin(audit::login_refused(req, form.get("username"), fail)).await;
            }
            req.grant.principal = asks?;
            issue(req, &form).await
        }
        _ => Err(Fail::method("GET, POST")),
    }
}

/// More parameters than are taken, in a query or a form: mostly scopes.
pub fn too_many(error: QueryError) -> Fail {
    let text = format!("{error}; one scope parameter may name several scopes, with spaces between");
    Fail::bad("UNSUPPORTED", text)
}

async fn from_header(req: &Req) -> Result<Principal, Fail> {
    let Some(value) = shown(&req.headers) else {
        return Ok(anonymous().principal);
    };
    match basic(value) {
        Some((user, password)) => login(req, &user, &password).await,
        None => Err(refused(
            "the token service takes one Basic Authorization header or none",
        )),
    }
}

async fn from_form(req: &Req, form: &Query) -> Result<Principal, Fail> {
    match form.get("grant_type") {
        Some("password") => match (form.get("username"), form.get("password")) {
            (Some(user), Some(password)) => login(req, user, password).await,
            _ => Err(Fail::bad(
                "UNAUTHORIZED",
                "grant_type=password needs username and password",
            )),
        },
        Some("refresh_token") => {
            let token = form.get("refresh_token").unwrap_or_default();
            let name = form
                .get("service")
                .unwrap_or_else(|| service(&req.config, &req.caller));
            let owner = req.state.app.auth.refresh(token, name).await;
            owner.map_err(unauthorized)
        }
        _ => Err(Fail::bad(
            "UNAUTHORIZED",
            "grant_type must be password or refresh_token",
        )),
    }
}

async fn login(req: &Req, user: &str, password: &str) -> Result<Principal, Fail> {
    match req
        .state
        .app
        .auth
        .login(user, password, req.caller.ip)
        .await
    {
        Ok(grant) => {
            if let Principal::User(user) = &grant.principal {
                req.state.app.after_login(user.as_str());
            }
            Ok(grant.principal)
        }
        Err(error) => Err(unauthorized(error)),
    }
}

/// A refusal of credentials gets a challenge; other errors are what they are.
fn unauthorized(error: AuthError) -> Fail {
    if error.kind() == AuthErrorKind::Unauthorized {
        refused(&error.to_string())
    } else {
        error.into()
    }
}

fn refused(text: &str) -> Fail {
    Fail::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text)
        .with(WWW_AUTHENTICATE, "Basic realm=\"Dryport\"")
}

async fn issue(req: &Req, fields: &Query) -> Result<Response<Body>, Fail> {
    let scopes: Vec<&str> = fields.all("scope").collect();
    let scopes = Scope::parse(&scopes.join(" "))?;
    let name = fields.get("service").filter(|s| !s.is_empty());
    // It comes back in the token.
    if name.is_some_and(|name| name.len() > HOST_MAX) {
        let text = format!("a service has a name of at most {HOST_MAX} bytes");
        return Err(Fail::bad("UNSUPPORTED", text));
    }
    let name = name.unwrap_or_else(|| service(&req.config, &req.caller));
    let issued = req
        .state
        .app
        .auth
        .issue(&req.grant.principal, name, &scopes)
        .await?;
    let offline =
        fields.get("offline_token") == Some("true") || fields.get("access_type") == Some("offline");
    let refresh = if offline {
        let principal = &req.grant.principal;
        req.state.app.auth.issue_refresh(principal, name).await?
    } else {
        None
    };
    let mut response = Response::new(Body::from(json(&issued, refresh)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn json(issued: &Issued, refresh: Option<String>) -> String {
    let at = i64::try_from(issued.issued_at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let scope: Vec<String> = issued
        .granted
        .iter()
        .map(|s| format!("{}:{}:{}", s.kind, s.name, s.actions.join(",")))
        .collect();
    let mut answer = json!({
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
        "issued_at": at.unwrap_or_default().to_string(),
        "scope": scope.join(" "),
    });
    if let Some(refresh) = refresh {
        answer["refresh_token"] = refresh.into();
    }
    answer.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_both_names_and_a_utc_time() {
        let issued = Issued {
            token: "t".into(),
            expires_in: 300,
            issued_at_ms: 1_700_000_000_000,
            granted: Vec::new(),
        };
        let value: serde_json::Value = serde_json::from_str(&json(&issued, None)).expect("json");
        assert_eq!(value["token"], value["access_token"]);
        assert_eq!(value["issued_at"], "2023-11-14T22:13:20Z");
    }
}
