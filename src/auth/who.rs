//! The nouns of a decision: who asks, what for, on what, with which role.

use super::{AuthError, Scope};
use crate::store::record::{Decode, Encode};
use crate::types::RepoName;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What is asked for; the same names stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `GET /v2/`.
    Ping,
    /// A token from the token service.
    Token,
    /// Read manifests and blobs.
    RepoPull,
    /// See that the repository exists, list its tags and referrers.
    RepoList,
    /// Upload blobs and manifests.
    RepoPush,
    /// Point a tag at a manifest.
    TagWrite,
    /// Remove tags, manifests and blobs through the registry protocol.
    RepoDelete,
    /// The list of repositories (each name in it needs `RepoList` besides).
    Catalog,
    /// Create, configure and remove repositories.
    RepoAdmin,
    /// Manage users and their roles.
    UserAdmin,
    /// Manage the server: jobs, quotas, the collector, copies from other registries.
    ServerAdmin,
    /// Read the audit trail.
    AuditRead,
    /// Read `/metrics`.
    Metrics,
    /// Read the health end points.
    Health,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 14] = [
        Self::Ping,
        Self::Token,
        Self::RepoPull,
        Self::RepoList,
        Self::RepoPush,
        Self::TagWrite,
        Self::RepoDelete,
        Self::Catalog,
        Self::RepoAdmin,
        Self::UserAdmin,
        Self::ServerAdmin,
        Self::AuditRead,
        Self::Metrics,
        Self::Health,
    ];

    /// The name in logs, for example `repo.pull`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Token => "token",
            Self::RepoPull => "repo.pull",
            Self::RepoList => "repo.list",
            Self::RepoPush => "repo.push",
            Self::TagWrite => "tag.write",
            Self::RepoDelete => "repo.delete",
            Self::Catalog => "catalog",
            Self::RepoAdmin => "repo.admin",
            Self::UserAdmin => "user.admin",
            Self::ServerAdmin => "server.admin",
            Self::AuditRead => "audit.read",
            Self::Metrics => "metrics",
            Self::Health => "health",
        }
    }
}

/// Who asks. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular.
    Anonymous,
    /// A user who has shown a password or a token.
    User(Arc<UserName>),
    /// Who can open the control socket or the data directory: may do everything.
    Operator,
}

/// A user name: 1 to 64 of `a-z 0-9 . _ -`, a letter or digit first. Parsed once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(String);

impl UserName {
    /// The longest name in bytes.
    pub const MAX: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UserName {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, AuthError> {
        let bytes = text.as_bytes();
        let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = bytes.len() <= Self::MAX
            && bytes.first().is_some_and(alnum)
            && bytes
                .iter()
                .all(|b| alnum(b) || matches!(b, b'.' | b'_' | b'-'));
        if good {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(AuthError::Name(format!(
            "{shown:?} is not a user name: use 1 to {} of a-z, 0-9, dot, underscore and dash, starting with a letter or digit",
            Self::MAX
        )))
    }
}

crate::types::as_text!(UserName, "UserName", "The name of an account.", "ann");

/// What it is asked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The server as a whole.
    Server,
    /// One repository, whether it exists or not.
    Repo(&'a RepoName),
    /// Every repository below a prefix; empty is all.
    Below(&'a str),
    /// A repository as it was, by a name of its own.
    Past {
        /// The repository, whose rights hold.
        now: &'a RepoName,
        /// The name that was asked for, which the scope of a token speaks of.
        asked: &'a RepoName,
    },
}

/// Roles, each holding what the one before it may. The order is stored: append only.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    Encode,
    Decode,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Pull and list.
    Reader,
    /// Also push, set tags, delete content.
    Writer,
    /// Also everything else.
    Admin,
}

impl Role {
    /// The word on the command line: `reader`, `writer` or `admin`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, AuthError> {
        [Self::Reader, Self::Writer, Self::Admin]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| {
                let shown: String = text.chars().take(40).collect();
                AuthError::Name(format!(
                    "{shown:?} is not a role; roles are reader, writer and admin"
                ))
            })
    }
}

/// A role on everything under a prefix.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    Encode,
    Decode,
    utoipa::ToSchema,
)]
pub struct RoleGrant {
    /// What the holder may do there.
    pub role: Role,
    /// A repository name or the first components of one; "" is everything.
    pub prefix: String,
}

/// What the request may do: the user behind it, and for a bearer token the token's scope on top.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who asks.
    pub principal: Principal,
    /// What the token was issued for. `None`: not limited by a token.
    pub scope: Option<Arc<Vec<Scope>>>,
}

impl Grant {
    /// A grant that no token limits.
    pub fn whole(principal: Principal) -> Self {
        Self {
            principal,
            scope: None,
        }
    }
}

/// A user as shown to administrators.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct UserView {
    /// The name.
    pub name: String,
    /// Roles, by prefix.
    pub grants: Vec<RoleGrant>,
    /// When it was added, in ms since 1970 (UTC).
    pub created_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names() {
        for good in ["a", "0", "ci-bot", "a.b_c-d", &"x".repeat(64)] {
            assert!(good.parse::<UserName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "A",
            ".a",
            "-a",
            "_a",
            "a b",
            "a/b",
            "a:b",
            "ä",
            "a\0",
            &"x".repeat(65),
        ] {
            let error = bad.parse::<UserName>().expect_err(bad);
            assert_eq!(error.kind(), super::super::AuthErrorKind::Usage);
        }
    }

    #[test]
    fn roles_and_actions_have_names() {
        assert_eq!("writer".parse::<Role>().expect("role"), Role::Writer);
        assert!("root".parse::<Role>().is_err());
        let mut names: Vec<_> = Action::ALL.iter().map(|a| a.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Action::ALL.len());
    }
}
