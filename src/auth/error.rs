//! What can go wrong with accounts, in words for the person at the other end.

use crate::store::StoreError;
use crate::types::{Outage, Remedy};

/// Why an account, a login or a token was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    /// No such user, or another password: which of the two is never told.
    #[error("wrong user name or password")]
    BadCredentials,
    /// Too many wrong passwords; whole seconds until the next try is looked at.
    #[error("too many failed logins; try again in {0} s")]
    Slowed(u64),
    /// More passwords wait to be checked than this machine can do in time.
    #[error("too many logins at once; try again in a few seconds")]
    Busy,
    /// A bearer or refresh token that does not count (any more), and why.
    #[error("the token is not valid: {0}; log in again")]
    BadToken(&'static str),
    /// More scopes in one token request than are taken, which are so many.
    #[error(
        "a token request may ask for {0} scopes at most; ask for the others in another request"
    )]
    Scopes(usize),
    /// The token would take so many bytes, and may take so many.
    #[error(
        "a token for these scopes would take {0} bytes, and only {1} bytes fit into a request; ask for fewer scopes at a time"
    )]
    TokenTooLong(usize, usize),
    /// A name, prefix or password that does not follow its rules.
    #[error("{0}")]
    Name(String),
    /// `add` of a name that is taken.
    #[error("user {0} exists already")]
    Exists(String),
    /// A change of a user that is not there.
    #[error("there is no user {0}")]
    Unknown(String),
    /// The state of things forbids it; the text says why.
    #[error("{0}")]
    Refused(String),
    /// Hashing, signing or randomness failed: a fault of this machine.
    #[error("{0}")]
    Internal(&'static str),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Kinds of [`AuthError`], for exit codes and HTTP statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthErrorKind {
    /// Credentials or token do not count: 401.
    Unauthorized,
    /// Come back later: 429.
    TooMany,
    /// Malformed input.
    Usage,
    /// More was asked for than one token holds: 400.
    TooMuch,
    /// The name is taken.
    Exists,
    /// No such user.
    NotFound,
    /// Refused by state.
    Refused,
    /// The store or the machine failed: 5xx.
    Store,
}

impl AuthError {
    /// What can be done about it, where that needs more words than the error has.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Unknown(_) => Some(Remedy::ListUsers),
            Self::Store(error) => error.remedy(),
            _ => None,
        }
    }

    /// What is wrong below, where that is why.
    pub fn outage(&self) -> Outage {
        match self {
            Self::Store(error) => error.outage(),
            _ => Outage::Defect,
        }
    }

    /// The kind, for callers that map errors.
    pub fn kind(&self) -> AuthErrorKind {
        match self {
            Self::BadCredentials | Self::BadToken(_) => AuthErrorKind::Unauthorized,
            Self::Slowed(_) | Self::Busy => AuthErrorKind::TooMany,
            Self::Name(_) => AuthErrorKind::Usage,
            Self::Scopes(_) | Self::TokenTooLong(..) => AuthErrorKind::TooMuch,
            Self::Exists(_) => AuthErrorKind::Exists,
            Self::Unknown(_) => AuthErrorKind::NotFound,
            Self::Refused(_) => AuthErrorKind::Refused,
            Self::Internal(_) | Self::Store(_) => AuthErrorKind::Store,
        }
    }
}
