//! What can go wrong with upstreams, said for people.

use super::settings::{SettingError, UpstreamName};
use crate::store::{StoreError, StoreErrorKind};

/// A refused or failed operation on upstreams. None of its texts holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No such upstream.
    #[error("there is no upstream {0}")]
    Unknown(UpstreamName),
    /// One of this name is there.
    #[error("there is an upstream {0} already: change it, or remove it first")]
    Exists(UpstreamName),
    /// The configuration's upstreams are read-only here.
    #[error("upstream {0} stands in the configuration and is read-only here: change it there")]
    Configured(UpstreamName),
    /// Another one has it.
    #[error("{what} belongs to upstream {by} already")]
    Taken {
        /// What was asked for, for example `the prefix docker.io`.
        what: String,
        /// Who has it.
        by: UpstreamName,
    },
    /// A setting that no upstream can have.
    #[error("{0}")]
    Setting(String),
    /// Too many upstreams.
    #[error("there are {0} upstreams, the most that are kept: remove one first")]
    Many(usize),
    /// What to log in with, or a certificate, cannot be had from where the settings say.
    #[error("{0}")]
    Secret(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A background task of this process ended early.
    #[error("an internal task failed: {0}")]
    Task(String),
}

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamErrorKind {
    /// The upstream is not there.
    Unknown,
    /// The request itself is wrong.
    Usage,
    /// The state of things forbids it.
    State,
    /// It was tried and did not work.
    Failed,
    /// The store's own.
    Store(StoreErrorKind),
}

impl UpstreamError {
    /// The kind.
    pub fn kind(&self) -> UpstreamErrorKind {
        match self {
            Self::Unknown(_) => UpstreamErrorKind::Unknown,
            Self::Setting(_) => UpstreamErrorKind::Usage,
            Self::Exists(_) | Self::Configured(_) | Self::Taken { .. } | Self::Many(_) => {
                UpstreamErrorKind::State
            }
            Self::Secret(_) | Self::Task(_) => UpstreamErrorKind::Failed,
            Self::Store(error) => UpstreamErrorKind::Store(error.kind()),
        }
    }
}

impl From<SettingError> for UpstreamError {
    fn from(error: SettingError) -> Self {
        Self::Setting(error.to_string())
    }
}
