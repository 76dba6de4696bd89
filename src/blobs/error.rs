//! What can go wrong with content files.

use crate::types::{Digest, Outage};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// A failure with content files.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes do not have the digest that was promised; they have been removed.
    #[error("the content is {got}, not {wanted}; send it again")]
    Digest {
        /// What was promised.
        wanted: Digest,
        /// What the bytes are.
        got: Digest,
    },
    /// Not enough room above the reserve. Sizes in bytes.
    #[error(
        "the disk is full: {needed} bytes are needed and {free} are free above the reserve; content can be pulled and deleted, and pushed again when enough space is free"
    )]
    NoSpace {
        /// Bytes that were to be written.
        needed: u64,
        /// Bytes that may still be written.
        free: u64,
    },
    /// A content file is not there, is shorter or longer than it must be, or its place is not one that we make.
    #[error("content file {0} is missing or damaged; push or mirror that content again")]
    Damaged(String),
    /// Something else is where a folder of contents must be: nothing below it is touched.
    #[error("{0} must be a folder: {1}")]
    Folder(String, #[source] io::Error),
    /// The file of an upload is not the one that was written, or not as it was written; it has been removed. The log says
    /// which it was.
    #[error(
        "the file of this content was changed on the disk while it arrived; send that content again"
    )]
    Changed,
    /// The file that was handed over cannot be taken as content: why.
    #[error("what was handed over cannot be taken: {0}")]
    Source(String),
    /// Somebody writes to this file, in this process or in another.
    #[error("another writer has the file {0} open; wait for it to end")]
    Locked(String),
    /// Anything else the file system said: what was tried, and its answer.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
}

/// The kinds of [`BlobError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobErrorKind {
    /// The sender's bytes are not what it said, or not what was written.
    Digest,
    /// The disk is full up to its reserve, or a quota is used up.
    NoSpace,
    /// Bytes that must be there are not.
    Damaged,
    /// What was handed over is no file that can be taken.
    Source,
    /// The file has another writer.
    Locked,
    /// Too many files are open, in this process or on the machine: later it will work.
    Busy,
    /// The file system takes no writes.
    ReadOnly,
    /// The file system failed.
    Io,
}

impl BlobError {
    /// Which kind of failure this is.
    pub fn kind(&self) -> BlobErrorKind {
        match self {
            Self::Digest { .. } | Self::Changed => BlobErrorKind::Digest,
            Self::Source(_) => BlobErrorKind::Source,
            Self::Locked(_) => BlobErrorKind::Locked,
            Self::NoSpace { .. } => BlobErrorKind::NoSpace,
            Self::Damaged(_) | Self::Folder(..) => BlobErrorKind::Damaged,
            Self::Io(_, e) if is_one_of(e, &[Errno::MFILE, Errno::NFILE]) => BlobErrorKind::Busy,
            Self::Io(_, e) if is_one_of(e, &[Errno::ROFS]) => BlobErrorKind::ReadOnly,
            Self::Io(..) => BlobErrorKind::Io,
        }
    }

    /// The same for those who ask from afar; nothing where the sender's bytes are to blame.
    pub fn outage(&self) -> Option<Outage> {
        match self.kind() {
            BlobErrorKind::Digest | BlobErrorKind::Source => None,
            BlobErrorKind::NoSpace => Some(Outage::NoSpace),
            BlobErrorKind::Busy | BlobErrorKind::Locked => Some(Outage::Busy),
            BlobErrorKind::ReadOnly | BlobErrorKind::Io => Some(Outage::DiskDown),
            BlobErrorKind::Damaged => Some(Outage::Defect),
        }
    }

    /// [`BlobError::Changed`], with the file in the log.
    pub(super) fn changed(path: &Path) -> Self {
        tracing::error!(file = %path.display(), "a file was changed, not by Dryport, while content was written to it; it is not used");
        Self::Changed
    }

    /// For `map_err`: the file system's answer to `what` on `path`.
    pub(super) fn io<E: Into<io::Error>>(what: &str, path: &Path) -> impl FnOnce(E) -> Self {
        move |e| Self::Io(format!("cannot {what} {}", path.display()), e.into())
    }
}

fn is_one_of(error: &io::Error, all: &[Errno]) -> bool {
    let raw = error.raw_os_error();
    all.iter().any(|e| raw == Some(e.raw_os_error()))
}
