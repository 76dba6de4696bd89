//! Failures of operations: the one place where the errors of the rooms below become the kinds that callers act on.

use crate::audit::{AuditError, AuditErrorKind};
use crate::auth::{AuthError, AuthErrorKind};
use crate::blobs::BlobErrorKind;
use crate::jobs::{JobError, JobErrorKind};
use crate::mirror::{self, MirrorError, MirrorErrorKind};
use crate::repo::RepoError;
use crate::store::{StoreError, StoreErrorKind};
use crate::types::{NameError, PathError, Remedy, TitleError};
use crate::upstream::{SettingError, UpstreamError, UpstreamErrorKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kinds of failure that a caller may act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// It was tried and did not work; trying again may help.
    Failed,
    /// The request itself is wrong.
    Usage,
    /// What it names is not there.
    NotFound,
    /// The caller has no right to it.
    Denied,
    /// The state of things forbids it: exists already, locked, read-only.
    State,
    /// Stored data is damaged.
    Damaged,
    /// The image is here, and of what is attached to it something could not be had.
    Evidence,
}

/// A failure, for people and for exit codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What happened and what to do.
    pub message: String,
    /// What else can be done, which the surface says in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Fault {
    /// A failure of this kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            remedy: None,
        }
    }

    /// The same with what can be done about it.
    #[must_use]
    pub fn mended_by(mut self, remedy: Option<Remedy>) -> Self {
        self.remedy = remedy;
        self
    }

    /// What kind it is.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// The request itself is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Usage, message)
    }

    /// It did not work.
    pub fn failed(message: impl std::fmt::Display) -> Self {
        Self::new(FaultKind::Failed, message.to_string())
    }
}

impl From<NameError> for Fault {
    fn from(error: NameError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<TitleError> for Fault {
    fn from(error: TitleError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<PathError> for Fault {
    fn from(error: PathError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::new(of_store(error.kind()), error.to_string()).mended_by(error.remedy())
    }
}

/// The kind of a failure of the store.
pub(in crate::app) fn of_store(kind: StoreErrorKind) -> FaultKind {
    match kind {
        StoreErrorKind::Locked | StoreErrorKind::TooNew | StoreErrorKind::Refused => {
            FaultKind::State
        }
        StoreErrorKind::Damaged => FaultKind::Damaged,
        _ => FaultKind::Failed,
    }
}

impl From<AuthError> for Fault {
    fn from(error: AuthError) -> Self {
        let kind = match (&error, error.kind()) {
            (AuthError::Store(store), _) => of_store(store.kind()),
            (_, AuthErrorKind::Usage) => FaultKind::Usage,
            (_, AuthErrorKind::NotFound) => FaultKind::NotFound,
            (_, AuthErrorKind::Exists | AuthErrorKind::Refused) => FaultKind::State,
            _ => FaultKind::Failed,
        };
        Self::new(kind, error.to_string()).mended_by(error.remedy())
    }
}

impl From<RepoError> for Fault {
    fn from(error: RepoError) -> Self {
        let kind = match &error {
            RepoError::NameUnknown(_)
            | RepoError::NothingMatches(_)
            | RepoError::ManifestUnknown(_)
            | RepoError::BlobUnknown(_)
            | RepoError::PathUnknown(_)
            | RepoError::SnapshotUnknown { .. } => FaultKind::NotFound,
            RepoError::ReadOnly(_)
            | RepoError::NotAttached { .. }
            | RepoError::Refused(_)
            | RepoError::Mendable(..)
            | RepoError::OtherKind { .. }
            | RepoError::Exists(_)
            | RepoError::PathTaken { .. }
            | RepoError::Precondition { .. }
            | RepoError::Quota { .. }
            | RepoError::HistoryFull { .. } => FaultKind::State,
            RepoError::FileDamaged(_) => FaultKind::Damaged,
            RepoError::Blob(blob) if blob.kind() == BlobErrorKind::Damaged => FaultKind::Damaged,
            RepoError::Store(store) => of_store(store.kind()),
            _ => FaultKind::Failed,
        };
        Self::new(kind, error.to_string()).mended_by(error.remedy())
    }
}

impl From<JobError> for Fault {
    fn from(error: JobError) -> Self {
        let kind = match error.kind() {
            JobErrorKind::Unknown => FaultKind::NotFound,
            JobErrorKind::Usage => FaultKind::Usage,
            JobErrorKind::State => FaultKind::State,
            JobErrorKind::Store(kind) => of_store(kind),
            JobErrorKind::Internal => FaultKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<AuditError> for Fault {
    fn from(error: AuditError) -> Self {
        let kind = match error.kind() {
            AuditErrorKind::Usage => FaultKind::Usage,
            AuditErrorKind::Store(kind) => of_store(kind),
            AuditErrorKind::Internal => FaultKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SettingError> for Fault {
    fn from(error: SettingError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<UpstreamError> for Fault {
    fn from(error: UpstreamError) -> Self {
        let kind = match error.kind() {
            UpstreamErrorKind::Unknown => FaultKind::NotFound,
            UpstreamErrorKind::Usage => FaultKind::Usage,
            UpstreamErrorKind::State => FaultKind::State,
            UpstreamErrorKind::Failed => FaultKind::Failed,
            UpstreamErrorKind::Store(kind) => of_store(kind),
        };
        Self::new(kind, error.to_string())
    }
}

impl From<MirrorError> for Fault {
    fn from(error: MirrorError) -> Self {
        if let MirrorError::Begun { error, bytes } = error {
            let mut fault = Self::from(*error);
            fault.message = format!("{}. {}", fault.message, mirror::kept(bytes));
            return fault;
        }
        let kind = match error.kind() {
            MirrorErrorKind::Usage => FaultKind::Usage,
            MirrorErrorKind::NotFound => FaultKind::NotFound,
            MirrorErrorKind::Memory => FaultKind::State,
            MirrorErrorKind::Repo => {
                return match error {
                    MirrorError::Repo(error) => error.into(),
                    error => Self::failed(error),
                };
            }
            _ => FaultKind::Failed,
        };
        Self::new(kind, error.to_string()).mended_by(error.remedy())
    }
}
