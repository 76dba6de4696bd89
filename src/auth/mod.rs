//! Accounts: users, roles, tokens, authorize. STUB.
use crate::store::{Store, StoreError};
use crate::types::RepoName;
use std::net::IpAddr;
use std::sync::Arc;

/// What is asked for; the same names stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Ping,
    Token,
    RepoPull,
    RepoList,
    RepoPush,
    TagWrite,
    RepoDelete,
    Catalog,
    RepoAdmin,
    UserAdmin,
    Metrics,
    Health,
}
impl Action {
    /// e.g. "repo.pull"
    pub fn name(self) -> &'static str {
        todo!()
    }
}

/// Who asks. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Anonymous,
    User(Arc<UserName>),
    /// who can open the control socket
    Operator,
}
/// User name: 1-64 of [a-z0-9._-], parsed once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(String);
impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl std::str::FromStr for UserName {
    type Err = AuthError;
    fn from_str(_: &str) -> Result<Self, AuthError> {
        todo!()
    }
}

/// What it is asked on.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    Server,
    Repo(&'a RepoName),
}

/// Roles.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Reader,
    Writer,
    Admin,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    #[error("wrong user name or password")]
    BadCredentials,
    #[error("too many failed logins; try again in {0} s")]
    Slowed(u64),
    #[error("the token is not valid: {0}")]
    BadToken(&'static str),
    #[error("{0}")]
    Name(String),
    #[error("user {0} exists already")]
    Exists(String),
    #[error("there is no user {0}")]
    Unknown(String),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthErrorKind {
    Unauthorized,
    TooMany,
    Usage,
    Exists,
    NotFound,
    Refused,
    Store,
}
impl AuthError {
    pub fn kind(&self) -> AuthErrorKind {
        todo!()
    }
}

/// What the request may do: the user behind it, and for a Bearer token the token's scope on top.
#[derive(Debug, Clone)]
pub struct Grant {
    pub principal: Principal,
    /// None: not limited by a token
    pub scope: Option<Arc<Vec<Scope>>>,
}
/// One access of docker's token scope grammar: repository:NAME:pull,push,delete or registry:catalog:*
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scope {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub actions: Vec<String>,
}
impl Scope {
    /// several, separated by spaces; unknown types and bad names are dropped (docker's behaviour)
    pub fn parse(_text: &str) -> Vec<Scope> {
        todo!()
    }
}

#[derive(Debug, Clone)]
pub struct AuthOptions {
    /// anonymous may pull
    pub anonymous_pull: bool,
    /// anonymous may push
    pub anonymous_push: bool,
    /// PKCS#8 PEM keys: newest first signs, all verify
    pub signing_keys: Vec<String>,
    /// token life in seconds
    pub token_seconds: u64,
}

/// A token service answer.
#[derive(Debug, Clone)]
pub struct Issued {
    pub token: String,
    pub expires_in: u64,
    pub issued_at_ms: u64,
    pub granted: Vec<Scope>,
}
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct UserView {
    pub name: String,
    pub grants: Vec<RoleGrant>,
    pub created_ms: u64,
}
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RoleGrant {
    pub role: Role,
    /// "" is everything
    pub prefix: String,
}

/// The accounts; cheap to clone.
#[derive(Clone)]
pub struct Auth {
    _i: Arc<Store>,
}
impl Auth {
    pub fn open(_s: Store, _o: AuthOptions) -> Result<Self, AuthError> {
        todo!()
    }
    /// Replaces the switches (SIGHUP) and clears decisions.
    pub fn reconfigure(&self, _o: AuthOptions) -> Result<(), AuthError> {
        todo!()
    }
    /// Password check (argon2 in a semaphore, cached). `from` for login delays. Never tells which half was wrong.
    pub async fn login(
        &self,
        _user: &str,
        _password: &str,
        _from: IpAddr,
    ) -> Result<Grant, AuthError> {
        todo!()
    }
    /// Bearer token for `service`; cached. A user that was removed is refused at once; rights are looked up at authorize.
    pub async fn bearer(&self, _token: &str, _service: &str) -> Result<Grant, AuthError> {
        todo!()
    }
    /// Issues a token: the asked scopes cut down to what the principal may do now (empty allowed).
    pub async fn issue(
        &self,
        _who: &Principal,
        _service: &str,
        _scopes: &[Scope],
    ) -> Result<Issued, AuthError> {
        todo!()
    }
    /// An opaque refresh token for OAuth2 POST with access_type=offline, if supported.
    pub async fn refresh(&self, _token: &str, _service: &str) -> Result<Principal, AuthError> {
        todo!()
    }
    /// The only yes or no. Cached; no store read when the principal's grants are cached.
    pub async fn authorize(
        &self,
        _g: &Grant,
        _a: Action,
        _r: Resource<'_>,
    ) -> Result<bool, AuthError> {
        todo!()
    }
    /// What the user behind may do, whatever the token's scope says (mount look-up).
    pub async fn authorize_user(
        &self,
        _p: &Principal,
        _a: Action,
        _r: Resource<'_>,
    ) -> Result<bool, AuthError> {
        todo!()
    }
    pub async fn add(
        &self,
        _n: &UserName,
        _password: &str,
        _grants: Vec<RoleGrant>,
    ) -> Result<(), AuthError> {
        todo!()
    }
    pub async fn passwd(&self, _n: &UserName, _password: &str) -> Result<(), AuthError> {
        todo!()
    }
    pub async fn grant(&self, _n: &UserName, _g: RoleGrant) -> Result<(), AuthError> {
        todo!()
    }
    pub async fn revoke(&self, _n: &UserName, _prefix: &str) -> Result<(), AuthError> {
        todo!()
    }
    pub async fn remove(&self, _n: &UserName) -> Result<(), AuthError> {
        todo!()
    }
    pub async fn list(&self) -> Result<Vec<UserView>, AuthError> {
        todo!()
    }
    pub async fn is_empty(&self) -> Result<bool, AuthError> {
        todo!()
    }
}
