//! Copies an image with its whole closure from another registry: plan, fetch, verify, commit.
//!
//! Owns the registry protocol as a client (`oci`), the names people type (`reference`), what belongs to an image (`plan`)
//! and the copying (`copy`). Bytes are never converted; nothing is visible before the one commit at the end. It must not
//! know reqwest, the store or content files: it speaks through `fetch` and `repo`.
//!
//! `planning` has the way from what was asked for to a plan, `source` the other registry.
#![allow(
    clippy::result_large_err,
    reason = "errors end a run, once; a box would only hide RepoError from those who match on it"
)]

mod closure;
mod copy;
mod evidence;
mod planning;
mod refetch;
mod source;

pub use evidence::MissingEvidence;
pub use reference::SourceImage;
pub use refetch::refetch;

use crate::fetch::{FetchClient, FetchError, FetchOptions};
use crate::repo::{RepoError, Repos};
use crate::types::{Digest, JobId, Moment, NameError, Remedy, RepoName};
use planning::{budget, plan, platform};
pub use source::{document, link};
use source::{oci, reference};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What to copy, and how to talk to its registry.
#[derive(Debug, Clone)]
pub struct MirrorRequest {
    /// `docker://HOST/NAME[:TAG|@DIGEST]`.
    pub source: String,
    /// The repository to copy into; `None` is `HOST/NAME` (`HOST-PORT/NAME` for a port).
    pub to: Option<RepoName>,
    /// `OS/ARCH[/VARIANT]` each; none is all. The index stays as it is, only its other images are absent.
    pub platforms: Vec<String>,
    /// One of several platforms that the image does not have, or another one of an image that has one only, is a warning
    /// and no error.
    pub allow_missing_platforms: bool,
    /// Certificates, credentials, time-outs.
    pub fetch: FetchOptions,
    /// Bytes that the manifests of the image, and the lists of what belongs to it, may take in memory.
    pub memory: u64,
    /// The job that runs it, if it is one.
    pub job: Option<JobId>,
}

/// What a mirror run did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct MirrorReport {
    /// The repository copied into.
    pub name: String,
    /// The tags set.
    pub tags: Vec<String>,
    /// The digest of what was asked for.
    pub digest: String,
    /// Manifests and indexes in the closure.
    pub manifests: u64,
    /// Blobs copied.
    pub blobs: u64,
    /// Blobs that were here already, or that the source does not give away.
    pub blobs_skipped: u64,
    /// Bytes of the blobs copied, as far as this run fetched them.
    pub bytes: u64,
    /// Bytes of the blobs skipped.
    pub bytes_skipped: u64,
    /// What is attached to the image, or may be, and could not be had; at most 100 of them are named.
    #[serde(default)]
    pub missing_evidence: Vec<MissingEvidence>,
    /// How many there are, named or not.
    #[serde(default)]
    pub missing_evidence_count: u64,
    /// What is odd and hinders nothing, at most 100 texts.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Tags of what is attached to the image that were moved here and stay; at most 100 of them are named.
    #[serde(default)]
    pub kept_tags: Vec<KeptTag>,
    /// How many there are, named or not.
    #[serde(default)]
    pub kept_tags_count: u64,
}

/// A tag that was moved here, by a push, and that the run left as it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct KeptTag {
    /// The tag.
    pub tag: String,
    /// The digest that it means here.
    pub here: String,
    /// The digest that it means at the source. It is here, too, by its digest alone.
    pub upstream: String,
}

/// How far a run is; drawn by the command.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum MirrorProgress {
    /// The closure is known.
    Resolved {
        /// The digest of what was asked for.
        digest: String,
        /// Manifests in the closure.
        manifests: u64,
        /// Distinct blobs in it.
        blobs: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A blob grows; the last event of each has `done == size`.
    Blob {
        /// Its digest.
        digest: String,
        /// Its length.
        size: u64,
        /// Bytes here.
        done: u64,
    },
    /// A blob is here already, or is one that the source does not give away.
    Skipped {
        /// Its digest.
        digest: String,
        /// Its length.
        size: u64,
    },
    /// A wait before another try.
    Retry {
        /// What went wrong.
        why: String,
        /// How long, in milliseconds.
        wait_ms: u64,
    },
    /// All of it is visible.
    Committed {
        /// Manifests in the closure.
        manifests: u64,
        /// The tags set.
        tags: Vec<String>,
    },
}

/// Why nothing was copied; [`MirrorError::remedy`] says what to do. What had been fetched stays for the next run.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The source or a platform is not written as it must be.
    #[error("{0}")]
    Usage(String),
    /// The default name is no repository name.
    #[error("the copy cannot have the name that it would have by itself: {0}")]
    Name(NameError),
    /// The copy's name means the past.
    #[error("{target} means {now} as it was at that time, and the past takes no images")]
    Past {
        /// As it was asked for.
        target: RepoName,
        /// What of it is the repository.
        now: RepoName,
    },
    /// The other registry does not have it.
    #[error("{0}")]
    NotFound(String),
    /// The other registry does not have it, and the run can do without.
    #[error("{0}")]
    Lacking(String, Remedy),
    /// The other registry sent something that is not what it should be.
    #[error("{0}; nothing of this image is visible here")]
    Verify(String),
    /// It sent something of another digest, each time that it was asked.
    #[error(
        "{0}, also when asked again: its copy is damaged, or something on the way to it changes what it sends. Have it pushed there again, or reach it in another way (another proxy, or none), and run the command again; nothing of this image is visible here"
    )]
    Wrong(Wrong),
    /// The image is more than one run may hold.
    #[error(
        "the manifests of this image and the lists of what belongs to it need at least {} of memory, and one run may use {}",
        budget::mib(*needed), budget::mib(*limit)
    )]
    Memory {
        /// Bytes that are known to be needed.
        needed: u64,
        /// Bytes that a run may use.
        limit: u64,
    },
    /// Talking to the other registry failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Keeping it here failed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Stopped by the user or by the server's end.
    #[error("stopped; what has come is kept, and the same command goes on from there")]
    Cancelled,
    /// The lease of what came first ended before the last came.
    #[error(
        "what was fetched first was collected before the last of it arrived: it is kept for less time than this copy takes"
    )]
    Collected,
    /// It ended after something had come.
    #[error("{error}. {}", kept(*bytes))]
    Begun {
        /// Why.
        error: Box<Self>,
        /// Bytes of blobs that came in this run and are kept.
        bytes: u64,
    },
    /// A task of our own died.
    #[error("the copying ended unexpectedly: {0}")]
    Internal(String),
}

/// What becomes of so many bytes that a failed run has brought.
pub fn kept(bytes: u64) -> String {
    let amount = match bytes >> 20 {
        0 => format!("{bytes} bytes"),
        mib => format!("{mib} MiB"),
    };
    format!("What came ({amount}) is kept for some time, and the same command goes on from there")
}

/// What was sent in place of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} sent {what} {wanted} as other bytes, of the digest {got}{note}")]
pub struct Wrong {
    /// Host and port of the registry.
    pub host: String,
    /// `blob` or `manifest`.
    pub what: &'static str,
    /// The digest that was asked for, or that the answer's header names.
    pub wanted: Digest,
    /// The digest of what came.
    pub got: Digest,
    /// What else was odd about the answer, in parentheses; or nothing.
    pub note: String,
}

/// Kinds of [`MirrorError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorErrorKind {
    /// Asked in a way that cannot be done.
    Usage,
    /// Not there.
    NotFound,
    /// What came is wrong.
    Verify,
    /// More than this server may take.
    Memory,
    /// The other registry cannot be reached, or refuses.
    Fetch,
    /// This registry cannot keep it.
    Repo,
    /// Stopped.
    Cancelled,
    /// A defect.
    Internal,
}

impl MirrorError {
    /// The kind.
    pub fn kind(&self) -> MirrorErrorKind {
        match self {
            Self::Usage(_) | Self::Name(_) | Self::Past { .. } => MirrorErrorKind::Usage,
            Self::NotFound(_) | Self::Lacking(..) => MirrorErrorKind::NotFound,
            Self::Verify(_) | Self::Wrong(_) => MirrorErrorKind::Verify,
            Self::Memory { .. } => MirrorErrorKind::Memory,
            Self::Fetch(_) => MirrorErrorKind::Fetch,
            Self::Repo(_) => MirrorErrorKind::Repo,
            Self::Begun { error, .. } => error.kind(),
            Self::Cancelled => MirrorErrorKind::Cancelled,
            Self::Collected | Self::Internal(_) => MirrorErrorKind::Internal,
        }
    }

    /// What can be done about it, where a switch, a setting or a login does it.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Name(_) | Self::Past { .. } => Some(Remedy::ChooseTarget),
            Self::Lacking(_, remedy) => Some(remedy.clone()),
            Self::Memory { .. } => Some(Remedy::RaiseMirrorMemory),
            Self::Collected => Some(Remedy::LengthenLease),
            Self::Fetch(error) => error.remedy(),
            Self::Repo(error) => error.remedy(),
            Self::Begun { error, .. } => error.remedy(),
            Self::Usage(_)
            | Self::NotFound(_)
            | Self::Verify(_)
            | Self::Wrong(_)
            | Self::Cancelled
            | Self::Internal(_) => None,
        }
    }
}

/// Refuses what no run could do, whatever the other registry says: a source or a platform that does not read.
pub fn check(source: &str, platforms: &[String]) -> Result<(), MirrorError> {
    source.parse::<SourceImage>()?;
    platform::Choice::parse(platforms, false)?;
    Ok(())
}

/// Copies an image and all that belongs to it, then makes it visible at once.
///
/// A new target becomes a repository of origin mirror; an existing one gets an ordinary commit. After an error or a
/// cancellation nothing of the image is visible, and the same request goes on with what has been fetched. To stop it, use
/// `cancel` and wait: a future that is dropped instead cannot save how far its blobs are.
pub async fn run(
    repos: &Repos,
    request: MirrorRequest,
    progress: impl Fn(MirrorProgress) + Send + Sync + 'static,
    cancel: CancellationToken,
) -> Result<MirrorReport, MirrorError> {
    let source: SourceImage = request.source.parse()?;
    let choice = platform::Choice::parse(&request.platforms, request.allow_missing_platforms)?;
    let target = match request.to {
        Some(name) => name,
        None => source.default_target()?,
    };
    if let Some((Moment::Time(_), now)) = target.moment() {
        return Err(MirrorError::Past { target, now });
    }
    let progress: Arc<dyn Fn(MirrorProgress) + Send + Sync> = Arc::new(progress);
    let observer = progress.clone();
    let client = FetchClient::new(source.api_host(), request.fetch)?.on_retry(move |retry| {
        observer(MirrorProgress::Retry {
            why: retry.why,
            wait_ms: retry.wait.as_millis() as u64,
        });
    });
    let registry = oci::Registry::new(client, source);
    let plan = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(MirrorError::Cancelled),
        plan = plan::make(&registry, &choice, request.memory) => plan?,
    };
    progress(MirrorProgress::Resolved {
        digest: plan.root.to_string(),
        manifests: plan.manifests.len() as u64,
        blobs: plan.blobs.len() as u64,
        bytes: plan.blobs.iter().map(|b| b.size).sum(),
    });
    let target = (&target, request.job);
    copy::run(repos, &registry, target, plan, &*progress, &cancel).await
}

#[cfg(test)]
mod tests;
