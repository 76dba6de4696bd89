//! What can go wrong with the audit trail.

use crate::store::{StoreError, StoreErrorKind};

/// A refused or failed operation on the audit trail.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No position of a row.
    #[error("\"{0}\" is no id of a row: it is a time in ms and a number, as in 1790000000000-0")]
    Position(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A background task of this process ended early, or the system gave no random numbers.
    #[error("an internal task failed: {0}")]
    Internal(String),
}

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditErrorKind {
    /// The request itself is wrong.
    Usage,
    /// The store's own.
    Store(StoreErrorKind),
    /// A defect.
    Internal,
}

impl AuditError {
    /// The kind.
    pub fn kind(&self) -> AuditErrorKind {
        match self {
            Self::Position(_) => AuditErrorKind::Usage,
            Self::Store(error) => AuditErrorKind::Store(error.kind()),
            Self::Internal(_) => AuditErrorKind::Internal,
        }
    }
}
