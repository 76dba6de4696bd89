//! What a request may do, and from a missing right to the answer that a client can act on.
//!
//! Decides nothing itself: every yes or no comes from `Auth::authorize`.

use super::credentials::{challenge, scope};
use crate::auth::{Action, Lost, Principal, Resource};
use crate::http::answer::Fail;
use crate::http::request::Req;
use crate::http::surfaces::ChallengeKind;
use crate::repo::Meant;
use crate::types::RepoName;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;

/// What a challenge asks for where clients know no token service.
const PASSWORD: &str = "Basic realm=\"Dryport\", charset=\"UTF-8\"";

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

    /// The challenge of this request's surface; `scope` counts where that is one for a token.
    pub fn challenge(&self, scope: &str, error: Option<&str>) -> String {
        match self.challenge {
            ChallengeKind::Password => PASSWORD.to_owned(),
            ChallengeKind::Token => challenge(&self.config, &self.caller, scope, error),
        }
    }

    /// The answer to a body that was ended because the right to send it was.
    pub fn lost(&self, lost: Lost, action: Action, name: &RepoName) -> Fail {
        if lost == Lost::Right && self.grant.principal != Principal::Anonymous {
            let text = format!(
                "the right to push to {name} was taken away while this was sent; nothing of it is committed"
            );
            return Fail::new(StatusCode::FORBIDDEN, "DENIED", text).for_want_of_a_right();
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
            return Err(Fail::name_unknown(name).for_want_of_a_right());
        }
        let text = format!(
            "you may read {name} but not change it; ask an administrator for the role writer"
        );
        Err(Fail::new(StatusCode::FORBIDDEN, "DENIED", text).for_want_of_a_right())
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
        let text = "this needs the role admin";
        Err(Fail::new(StatusCode::FORBIDDEN, "DENIED", text).for_want_of_a_right())
    }
}
