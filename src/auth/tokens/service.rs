//! The token service: issues access and refresh tokens, and reads them back.

use super::token::{self, Access, Refresh, Subject};
use crate::auth::{Action, Auth, AuthError, Grant, Issued, Principal, Resource, Scope, UserName};
use crate::types::{Moment, RepoName, wall_ms};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// A token that was checked.
#[derive(Debug)]
pub(in crate::auth) struct VerifiedToken {
    /// `None`: anonymous.
    user: Option<Arc<UserName>>,
    uid: u64,
    /// The generation of the user's password when it was issued.
    password: u64,
    scopes: Arc<Vec<Scope>>,
    /// Seconds since 1970, leeway included.
    from: u64,
    until: u64,
}

impl VerifiedToken {
    /// Bytes in the cache.
    pub(in crate::auth) fn weight(&self) -> usize {
        let each = |s: &Scope| s.kind.len() + s.name.len() + 24 * s.actions.len() + 72;
        200 + self.scopes.iter().map(each).sum::<usize>()
    }
}

const REMOVED: AuthError = AuthError::BadToken("its user is not there any more");
const OUTDATED: AuthError = AuthError::BadToken("the password was changed after it was issued");

impl Auth {
    /// Checks a bearer token for `service`; a good one is remembered until it expires. A removed user and a new password
    /// end it at once; rights are looked up by [`Auth::authorize`], so that a token never gives more than its user has
    /// now.
    pub async fn bearer(&self, token: &str, service: &str) -> Result<Grant, AuthError> {
        let key: [u8; 32] = Sha256::new()
            .chain_update(service)
            .chain_update([0])
            .chain_update(token)
            .finalize()
            .into();
        let verified = match self.inner.tokens.get(&key) {
            Some(known) if (known.from..known.until).contains(&now()) => known,
            Some(known) => {
                self.inner.tokens.remove(&key);
                // The clock may have been set back since it was verified.
                let early = now() < known.from;
                let why = if early {
                    "its time has not come yet"
                } else {
                    "it has expired"
                };
                return Err(AuthError::BadToken(why));
            }
            None => {
                let fresh = Arc::new(self.read_access(token, service)?);
                self.inner.tokens.insert(key, Arc::clone(&fresh));
                fresh
            }
        };
        let principal = match &verified.user {
            None => Principal::Anonymous,
            Some(name) => match self.account(name).await? {
                Some(account) if account.uid != verified.uid => return Err(REMOVED),
                Some(account) if account.password_generation != verified.password => {
                    return Err(OUTDATED);
                }
                Some(_) => Principal::User(Arc::clone(name)),
                None => return Err(REMOVED),
            },
        };
        Ok(Grant {
            principal,
            scope: Some(Arc::clone(&verified.scopes)),
        })
    }

    fn read_access(&self, token: &str, service: &str) -> Result<VerifiedToken, AuthError> {
        let claims: Access = self.state().keys.verify(token, service)?;
        let user = if claims.sub.is_empty() {
            None
        } else {
            Some(Arc::new(subject(&claims.sub)?))
        };
        Ok(VerifiedToken {
            user,
            uid: claims.uid,
            password: claims.generation,
            scopes: Arc::new(claims.scopes),
            from: claims.nbf.saturating_sub(token::LEEWAY),
            until: claims.exp.saturating_add(token::LEEWAY),
        })
    }

    /// Issues a token for `service`: the asked scopes cut down to what the principal may do now (nothing left is
    /// fine). Names that are no repository name, such as those with a host and port, are granted nothing.
    pub async fn issue(
        &self,
        who: &Principal,
        service: &str,
        scopes: &[Scope],
    ) -> Result<Issued, AuthError> {
        let owner = self.subject_of(who).await?;
        let mut granted = Vec::new();
        for scope in scopes {
            let actions = self.grantable(who, scope).await?;
            if !actions.is_empty() {
                granted.push(Scope {
                    kind: scope.kind.clone(),
                    name: scope.name.clone(),
                    actions,
                });
            }
        }
        let state = self.state();
        let issued_at_ms = wall_ms();
        let seconds = state.token_seconds;
        let claims = Access::new(
            owner,
            service,
            granted.clone(),
            issued_at_ms / 1000,
            seconds,
        )?;
        Ok(Issued {
            token: state.keys.sign(&claims)?,
            expires_in: seconds,
            issued_at_ms,
            granted,
        })
    }

    /// Which of a scope's actions the principal may have.
    async fn grantable(&self, who: &Principal, scope: &Scope) -> Result<Vec<String>, AuthError> {
        let mut actions = Vec::new();
        if scope.kind == "registry" && scope.name == "catalog" {
            let may = self.authorize_user(who, Action::Catalog, Resource::Server);
            if scope.holds("*") && may.await? {
                actions.push("*".to_owned());
            }
        }
        let Some(name) = repository(scope) else {
            return Ok(actions);
        };
        for (word, action) in [
            ("pull", Action::RepoPull),
            ("push", Action::RepoPush),
            ("delete", Action::RepoDelete),
        ] {
            if !scope.holds(word) {
                continue;
            }
            let mut may = self
                .authorize_user(who, action, Resource::Repo(&name))
                .await?;
            // It may be a snapshot's name: whether it is, and whose rights hold then, each request finds out.
            if action == Action::RepoPull
                && let Some((Moment::Snapshot(_), now)) = name.moment()
            {
                let now = Resource::Repo(&now);
                may |= self.authorize_user(who, action, now).await?;
            }
            if may {
                actions.push(word.to_owned());
            }
        }
        Ok(actions)
    }

    /// Issues a refresh token of 30 days for `service`, which ends with the user's password. `None` for who has no
    /// password.
    pub async fn issue_refresh(
        &self,
        who: &Principal,
        service: &str,
    ) -> Result<Option<String>, AuthError> {
        if !matches!(who, Principal::User(_)) {
            return Ok(None);
        }
        let owner = self.subject_of(who).await?;
        let claims = Refresh::new(owner, service, now())?;
        self.state().keys.sign(&claims).map(Some)
    }

    /// Checks a refresh token for `service` (`OAuth2` form, `grant_type=refresh_token`): whose it is.
    pub async fn refresh(&self, token: &str, service: &str) -> Result<Principal, AuthError> {
        let claims: Refresh = self
            .state()
            .keys
            .verify(token, &Refresh::audience(service))?;
        let name = subject(&claims.sub)?;
        match self.account(&name).await? {
            Some(account) if account.uid != claims.uid => Err(REMOVED),
            Some(account) if account.password_generation != claims.password => Err(OUTDATED),
            Some(_) => Ok(Principal::User(Arc::new(name))),
            None => Err(REMOVED),
        }
    }

    /// Whose token it will be.
    async fn subject_of(&self, who: &Principal) -> Result<Subject, AuthError> {
        match who {
            Principal::Anonymous => Ok(Subject {
                name: String::new(),
                uid: 0,
                password: 0,
            }),
            Principal::User(name) => match self.account(name).await? {
                Some(account) => Ok(Subject {
                    name: name.to_string(),
                    uid: account.uid,
                    password: account.password_generation,
                }),
                None => Err(REMOVED),
            },
            Principal::Operator => Err(AuthError::Refused(
                "the operator works through the control socket and has no tokens; log in as a user"
                    .to_owned(),
            )),
        }
    }
}

fn repository(scope: &Scope) -> Option<RepoName> {
    (scope.kind == "repository")
        .then(|| scope.name.parse().ok())
        .flatten()
}

fn subject(text: &str) -> Result<UserName, AuthError> {
    text.parse()
        .map_err(|_| AuthError::BadToken("it names no user"))
}

fn now() -> u64 {
    wall_ms() / 1000
}
