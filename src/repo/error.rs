//! What can go wrong in a repository, said for people; `http` and `cli` map the kinds.

use crate::blobs::{BlobError, BlobErrorKind};
use crate::store::{StoreError, StoreErrorKind};
use crate::types::{Digest, Kind, Outage, Remedy, RepoName};
use std::sync::Arc;

/// A refused or failed repository operation. Nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// No repository of this name.
    #[error("repository {0} does not exist")]
    NameUnknown(RepoName),
    /// No such tag or manifest in the repository.
    #[error("manifest {0} is not known in this repository")]
    ManifestUnknown(String),
    /// The repository does not show this blob.
    #[error("blob {0} is not known in this repository")]
    BlobUnknown(Digest),
    /// No such upload.
    #[error("this upload does not exist: it was finished, cancelled or given up; start a new one")]
    UploadUnknown,
    /// A chunk does not follow the bytes that are here.
    #[error(
        "the chunk starts at byte {got}, but {want} bytes have arrived; go on from byte {want}"
    )]
    OutOfOrder {
        /// Bytes that have arrived.
        want: u64,
        /// Where the chunk says it starts.
        got: u64,
    },
    /// A chunk is not as long as its header says.
    #[error("the chunk has {got} bytes, but its Content-Range says {want}")]
    Size {
        /// Length by the header.
        want: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The digest does not fit the bytes or the upload.
    #[error("{0}")]
    Digest(String),
    /// The manifest is not well formed.
    #[error("the manifest cannot be taken: {0}")]
    ManifestInvalid(String),
    /// The repository's policy wants all content first.
    #[error("the manifest names content that this repository does not have; push that first")]
    ManifestBlobUnknown(Vec<Digest>),
    /// Longer than a manifest may be.
    #[error("the manifest has more than {0} bytes, the most that is taken")]
    TooLarge(u64),
    /// A mirror takes no pushes.
    #[error(
        "{0} is a mirror: its content comes from another registry and pushes are refused; push to another name, or ask the operator to let it take what is attached to its images"
    )]
    ReadOnly(RepoName),
    /// A mirror takes nothing but what is attached to what it has.
    #[error(
        "{name} is a mirror: its images come from another registry, and a push could make them mean something else. It takes what is attached to a manifest that is here: manifests by digest that have it as their subject, and the tags sha256-HEX, sha256-HEX.sig, sha256-HEX.att and sha256-HEX.sbom of it; but {why}. Push this to another name"
    )]
    NotAttached {
        /// The mirror.
        name: RepoName,
        /// What is wrong with this push.
        why: String,
    },
    /// Not possible in the state things are in.
    #[error("{0}")]
    Refused(String),
    /// The same, where something can be done about it.
    #[error("{0}")]
    Mendable(String, Remedy),
    /// A quota has no room for it.
    #[error(
        "the quota on {} is used up: {needed} bytes more are needed and {free} are free{}; delete something there, or ask for more",
        quota_on(prefix),
        in_uploads(*uploads)
    )]
    Quota {
        /// The prefix; empty for the whole box.
        prefix: String,
        /// Bytes that it would take.
        needed: u64,
        /// Bytes that are left.
        free: u64,
        /// Bytes that other unfinished uploads take.
        uploads: u64,
    },
    /// The history below a quota is over its bound, and none of it can go.
    #[error(
        "the quota on {} takes nothing new: {kept} bytes are kept there though nothing shows them, at most {bound} may be, and none of them can be given up{}; delete what keeps them, or ask for more",
        quota_on(prefix),
        kept_by(by)
    )]
    HistoryFull {
        /// The prefix; empty for the whole box.
        prefix: String,
        /// Bytes that are kept and not shown.
        kept: u64,
        /// Bytes that may be.
        bound: u64,
        /// Repositories that keep most of them, and how many bytes each.
        by: Vec<(String, u64)>,
    },
    /// The name belongs to a repository of another kind.
    #[error(
        "{name} is a repository of kind {}, not {wanted}; use another name, or that repository's own protocol",
        is.map_or("unknown", Kind::word)
    )]
    OtherKind {
        /// The repository.
        name: RepoName,
        /// What it is; `None` for a kind that this version does not know.
        is: Option<Kind>,
        /// What it would have to be.
        wanted: Kind,
    },
    /// The repository is there already, or its name lies above or below that of another.
    #[error("{0}")]
    Exists(String),
    /// No repository has a name of this pattern.
    #[error("no repository matches {0}; nothing was done")]
    NothingMatches(String),
    /// No such snapshot of the repository, and no revision or time either.
    #[error("{name} has no snapshot {title}")]
    SnapshotUnknown {
        /// The repository.
        name: String,
        /// What was asked for.
        title: String,
    },
    /// No file or folder at this path.
    #[error("{0} is not in this repository")]
    PathUnknown(String),
    /// The file's bytes are gone or damaged.
    #[error(
        "the bytes of {0} are damaged or gone here; upload it again, or restore it from a backup"
    )]
    FileDamaged(String),
    /// A file lies where a folder is needed, or a folder where a file would be.
    #[error("{path} cannot be a file: {taken} is {}", if *is_file { "a file, and not a folder" } else { "a folder" })]
    PathTaken {
        /// The path of the file.
        path: String,
        /// What is in its way.
        taken: String,
        /// Whether that is a file.
        is_file: bool,
    },
    /// The file is not what the request says that it replaces.
    #[error("{path} {}; nothing was changed", if *is_there { "is there, and is not what the request expects" } else { "is not there" })]
    Precondition {
        /// The path of the file.
        path: String,
        /// Whether there is a file.
        is_there: bool,
    },
    /// A big change of the repository is under way.
    #[error(
        "a big change of {0} is under way, and others wait for it; nothing was changed, try again shortly"
    )]
    Staged(String),
    /// Too many long reads go on.
    #[error(
        "many long reads of this registry go on at the moment, of the past or before a delete; nothing was changed, try again shortly"
    )]
    Crowded,
    /// Another long read of the same client goes on.
    #[error(
        "another long read of yours goes on, and each client has one at a time; nothing was changed, try again when it is done"
    )]
    OneAtATime,
    /// The repository changes faster than it can be looked through.
    #[error(
        "the repository was changed again and again while it was looked through for what needs this; nothing was deleted, try again"
    )]
    Restless,
    /// Two requests write to one upload.
    #[error("another request is writing to this upload; wait for it to end")]
    UploadBusy,
    /// Too many uploads that their owner began and did not finish.
    #[error(
        "{owner} has {most} unfinished uploads, the most at once; finish or cancel some, or ask the administrator to allow more; those without bytes end by themselves in time"
    )]
    TooManyUploads {
        /// Whose they are.
        owner: Arc<str>,
        /// The limit.
        most: usize,
    },
    /// The client's bytes ended early.
    #[error("the content was cut short: {0}")]
    Body(String),
    /// The content directory failed.
    #[error(transparent)]
    Blob(BlobError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A background task of this process ended early.
    #[error("an internal task failed: {0}")]
    Task(String),
}

fn quota_on(prefix: &str) -> &str {
    if prefix.is_empty() {
        "this registry"
    } else {
        prefix
    }
}

fn in_uploads(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!(" beside {bytes} bytes of unfinished uploads"),
    }
}

fn kept_by(by: &[(String, u64)]) -> String {
    let each: Vec<_> = by
        .iter()
        .map(|(name, bytes)| format!("{bytes} bytes by {name}"))
        .collect();
    match each.as_slice() {
        [] => String::new(),
        each => format!(" (kept: {})", each.join(", ")),
    }
}

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoErrorKind {
    /// The repository is not there.
    NameUnknown,
    /// The manifest or tag is not there.
    ManifestUnknown,
    /// The blob is not there.
    BlobUnknown,
    /// The file is not there.
    PathUnknown,
    /// The snapshot is not there.
    SnapshotUnknown,
    /// The file is not as it was expected.
    Precondition,
    /// The upload is not there.
    UploadUnknown,
    /// The chunk is out of order.
    OutOfOrder,
    /// Lengths differ.
    Size,
    /// Digests differ.
    Digest,
    /// The manifest is malformed.
    ManifestInvalid,
    /// The manifest's content is missing.
    ManifestBlobUnknown,
    /// Too large.
    TooLarge,
    /// Refused by state or policy.
    Refused,
    /// A quota is used up.
    Quota,
    /// Wait and try again.
    Busy,
    /// The client's body failed.
    Body,
    /// No room.
    NoSpace,
    /// Stored content is damaged.
    Damaged,
    /// Anything of ours.
    Internal,
}

impl From<BlobError> for RepoError {
    /// A file that has a writer is an upload that is in use.
    fn from(error: BlobError) -> Self {
        match error.kind() {
            BlobErrorKind::Locked => Self::UploadBusy,
            _ => Self::Blob(error),
        }
    }
}

impl RepoError {
    /// Whether a transaction said no for good: nothing of it was committed. (Of a failed commit that is not known.)
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::Task(_))
    }

    /// Whether nothing was committed, for sure: it was refused, for good, for now, or because the disk is full.
    pub fn stored_nothing(&self) -> bool {
        match self {
            Self::Store(error) => error.stored_nothing(),
            error => error.is_refusal(),
        }
    }

    /// Whether the disk took no more of an upload.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Store(error) => error.is_full(),
            error => matches!(error, Self::Blob(_)),
        }
    }

    /// What can be done about it, where that needs more words than the error has.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::ReadOnly(name) => Some(Remedy::TakeAttachments(name.to_string())),
            Self::Mendable(_, remedy) => Some(remedy.clone()),
            Self::Quota { .. } => Some(Remedy::RaiseQuota),
            Self::HistoryFull { .. } => Some(Remedy::RaiseHistory),
            Self::TooManyUploads { .. } => Some(Remedy::AllowUploads),
            Self::Store(error) => error.remedy(),
            _ => None,
        }
    }

    /// What is wrong below, if that is why; nothing where it is what was asked for.
    pub fn outage(&self) -> Option<Outage> {
        match self {
            Self::Blob(error) => error.outage(),
            Self::Store(error) => Some(error.outage()),
            Self::Task(_) => Some(Outage::Defect),
            _ => None,
        }
    }

    /// The kind.
    pub fn kind(&self) -> RepoErrorKind {
        use RepoErrorKind as K;
        match self {
            Self::NameUnknown(_) | Self::NothingMatches(_) => K::NameUnknown,
            Self::ManifestUnknown(_) => K::ManifestUnknown,
            Self::BlobUnknown(_) => K::BlobUnknown,
            Self::UploadUnknown => K::UploadUnknown,
            Self::PathUnknown(_) => K::PathUnknown,
            Self::SnapshotUnknown { .. } => K::SnapshotUnknown,
            Self::Precondition { .. } => K::Precondition,
            Self::OutOfOrder { .. } => K::OutOfOrder,
            Self::Size { .. } => K::Size,
            Self::Digest(_) => K::Digest,
            Self::ManifestInvalid(_) => K::ManifestInvalid,
            Self::ManifestBlobUnknown(_) => K::ManifestBlobUnknown,
            Self::TooLarge(_) => K::TooLarge,
            Self::ReadOnly(_)
            | Self::NotAttached { .. }
            | Self::OtherKind { .. }
            | Self::Exists(_)
            | Self::PathTaken { .. }
            | Self::Refused(_)
            | Self::Mendable(..) => K::Refused,
            Self::Quota { .. } | Self::HistoryFull { .. } => K::Quota,
            Self::UploadBusy
            | Self::TooManyUploads { .. }
            | Self::Staged(_)
            | Self::Crowded
            | Self::OneAtATime
            | Self::Restless => K::Busy,
            Self::FileDamaged(_) => K::Damaged,
            Self::Body(_) => K::Body,
            Self::Task(_) => K::Internal,
            Self::Blob(e) => match e.kind() {
                BlobErrorKind::Digest => K::Digest,
                BlobErrorKind::NoSpace => K::NoSpace,
                BlobErrorKind::Source => K::Body,
                BlobErrorKind::Damaged => K::Damaged,
                BlobErrorKind::Locked => K::Busy,
                BlobErrorKind::Busy | BlobErrorKind::ReadOnly | BlobErrorKind::Io => K::Internal,
            },
            Self::Store(e) => match e.kind() {
                StoreErrorKind::Busy => K::Busy,
                StoreErrorKind::NoSpace => K::NoSpace,
                StoreErrorKind::Damaged => K::Damaged,
                StoreErrorKind::Refused => K::Refused,
                _ => K::Internal,
            },
        }
    }
}
