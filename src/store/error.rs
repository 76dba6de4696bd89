//! What can go wrong in the store, and how callers sort it.
//!
//! Owns the error type; an engine puts its own errors into these words.

use crate::types::{Outage, Remedy};
use std::io::ErrorKind;

/// Store failures. Cloneable: one failed commit answers everybody who waited for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The lane stayed full for the whole waiting time (HTTP: 503 with Retry-After).
    #[error("the metadata store has more changes waiting than it can take: try again in a moment")]
    Busy,
    /// Another process, or another part of this one, has the data directory open.
    #[error(
        "the data directory {dir} is in use by {holder}: stop that process, or let it do the work"
    )]
    Locked {
        /// The data directory.
        dir: String,
        /// What the lock file says: "pid NNN, HOLDER".
        holder: String,
    },
    /// The data directory was written by a newer program.
    #[error(
        "the data directory has schema {found}, this program knows {known} at most: use the newer program, or restore a copy from before the upgrade"
    )]
    TooNew {
        /// Schema of the directory.
        found: u32,
        /// Newest schema of this program.
        known: u32,
    },
    /// A record was written by a newer program.
    #[error(
        "a stored {record} has version {found}, this program knows {known} at most: use the newer program"
    )]
    RecordTooNew {
        /// Name of the record.
        record: &'static str,
        /// Version byte found.
        found: u8,
        /// Newest version of this program.
        known: u8,
    },
    /// The disk, or the quota, is full. Nothing was written.
    #[error(
        "the disk is full ({0}): nothing of this change was stored; content can be pulled and deleted, and pushed again when some space is free"
    )]
    NoSpace(String),
    /// A change that grows found too little room above the reserve. Nothing of it was written.
    #[error(
        "the disk is full: this change needs {needed} bytes, {free} are free above the reserve, and nothing of it was stored; content can be pulled and deleted, and pushed again when enough space is free"
    )]
    Full {
        /// Bytes that it may take.
        needed: u64,
        /// Bytes that may be taken.
        free: u64,
    },
    /// A database of an older schema, and no room for the copy that is kept before it is upgraded and for the upgrade.
    /// Nothing was written.
    #[error(
        "the database has schema {found} and is to be upgraded: the copy of it that is kept before, and what is written again, need {needed} bytes, and {free} are free. Nothing was changed. Free some space, or go on without a copy"
    )]
    NoRoomForCopy {
        /// Schema of the database.
        found: u32,
        /// Bytes of the copy, and of what the upgrade writes.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The system refused a file operation.
    #[error("the metadata store cannot {what}: {detail}")]
    Io {
        /// The attempt, for example "open /srv/dryport/meta.redb".
        what: String,
        /// The system's words.
        detail: String,
    },
    /// The file holds what this program never wrote.
    #[error("the metadata store is damaged ({0}): restore a copy, or have it checked")]
    Damaged(String),
    /// The log beside the file cannot be followed; says what to do.
    #[error("{0}")]
    Log(String),
    /// A stored record does not decode, or a new one does not encode.
    #[error("a {record} record is not readable: {detail}")]
    Record {
        /// Name of the record.
        record: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A key, value or record over its limit; the change was refused.
    #[error("{what} of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// The key, value or record.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// One closure changes too many rows; the change was refused.
    #[error("one change touches more than {0} rows: split it")]
    TooMany(usize),
    /// A row that only the store itself may write.
    #[error("{0} may be written by the store alone")]
    Reserved(&'static str),
    /// Content that a change wants to put that does not say that it grows.
    #[error("content may be put only by a change that asks the disk for room")]
    Small,
    /// The store was closed.
    #[error("the metadata store is closed: the server is stopping")]
    Closed,
    /// The file failed and is being opened again; the change was not made.
    #[error("the metadata store is being reopened after a failure: try again in a moment")]
    Reopening,
    /// The commit failed: the change was made wholly or not at all, and nobody knows which.
    #[error(
        "the change may or may not have been stored ({detail}): look, then repeat it if needed"
    )]
    Unknown {
        /// The cause.
        detail: String,
        /// The disk was full.
        no_space: bool,
    },
    /// The closure of this name panicked; its change was dropped.
    #[error(
        "an internal defect stopped the change \"{0}\"; nothing of it was stored: please report it with the log"
    )]
    Panicked(&'static str),
}

/// Kind of failure, for mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Too much waits; try again soon.
    Busy,
    /// Somebody else has the directory.
    Locked,
    /// Written by a newer program.
    TooNew,
    /// Disk or quota full.
    NoSpace,
    /// Data, or this program, is defective; a person must look.
    Damaged,
    /// Not now: closed, reopening, or the system refused.
    Unavailable,
    /// The caller asked for something over a limit.
    Refused,
}

impl StoreError {
    /// The kind, by which callers choose their answer.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Busy => StoreErrorKind::Busy,
            Self::Locked { .. } => StoreErrorKind::Locked,
            Self::TooNew { .. } | Self::RecordTooNew { .. } => StoreErrorKind::TooNew,
            Self::NoSpace(_)
            | Self::Full { .. }
            | Self::NoRoomForCopy { .. }
            | Self::Unknown { no_space: true, .. } => StoreErrorKind::NoSpace,
            Self::Damaged(_) | Self::Log(_) | Self::Record { .. } | Self::Panicked(_) => {
                StoreErrorKind::Damaged
            }
            Self::Io { .. } | Self::Closed | Self::Reopening | Self::Unknown { .. } => {
                StoreErrorKind::Unavailable
            }
            Self::TooLarge { .. } | Self::TooMany(_) | Self::Reserved(_) | Self::Small => {
                StoreErrorKind::Refused
            }
        }
    }

    /// What can be done about it, where that needs more words than the error has.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Damaged(_) => Some(Remedy::Check),
            Self::NoRoomForCopy { .. } => Some(Remedy::UpgradeWithoutCopy),
            _ => None,
        }
    }

    /// The same for those who ask from afar.
    pub fn outage(&self) -> Outage {
        match self.kind() {
            StoreErrorKind::Busy => Outage::Busy,
            StoreErrorKind::Unavailable if !matches!(self, Self::Closed) => Outage::DiskDown,
            StoreErrorKind::Unavailable | StoreErrorKind::Locked => Outage::Recovering,
            StoreErrorKind::NoSpace => Outage::NoSpace,
            StoreErrorKind::TooNew | StoreErrorKind::Damaged | StoreErrorKind::Refused => {
                Outage::Defect
            }
        }
    }

    /// Whether nothing of the change was stored, for sure, because the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::NoSpace(_) | Self::Full { .. })
    }

    /// Whether nothing of the change was stored, for sure: the disk is full, the change breaks a rule of the store, or it
    /// never had a place in its lane.
    pub fn stored_nothing(&self) -> bool {
        let kind = self.kind();
        self.is_full() || matches!(kind, StoreErrorKind::Refused | StoreErrorKind::Busy)
    }

    /// The same failure when it struck a merge or commit: nobody knows what reached the disk.
    pub(super) fn into_unknown(self) -> Self {
        let no_space = self.kind() == StoreErrorKind::NoSpace;
        match self {
            Self::Unknown { .. } => self,
            other => Self::Unknown {
                detail: other.to_string(),
                no_space,
            },
        }
    }

    /// What those hear who want to change something until the file that failed so is open again.
    pub(super) fn while_down(self) -> Self {
        match self {
            Self::NoSpace(_) => self,
            _ => Self::Reopening,
        }
    }

    /// Whether the open file is of no further use.
    pub(super) fn breaks_file(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::NoSpace(_) | Self::Unknown { .. }
        )
    }
}

/// Names the attempt in an I/O error.
pub(super) fn io(what: impl Into<String>, error: &std::io::Error) -> StoreError {
    let full = matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    );
    if full {
        return StoreError::NoSpace(error.to_string());
    }
    StoreError::Io {
        what: what.into(),
        detail: error.to_string(),
    }
}
