//! What goes into a repository and what comes out of it: plain values, no rules.

use super::images::referrers::ReferrerEnd;
use super::rows::record::SourceRecord;
use crate::types::{Digest, Kind, MediaType, Reference, RepoName, Rev, Tag};
use bytes::Bytes;
use std::fmt;
use std::fs::File;
use std::sync::Arc;

/// Where an item came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Pushed by this user; empty for anonymous.
    Push {
        /// The user's name.
        by: String,
    },
    /// Copied from a registry.
    Registry {
        /// Host and port.
        registry: String,
        /// Repository there.
        name: String,
        /// Digest there.
        digest: Digest,
    },
}

/// How a repository gets its content.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// By pushes.
    Local,
    /// From another registry; of pushes at most what is attached to it is taken.
    Mirror,
    /// From an upstream, as it was asked for; of pushes as with a mirror.
    Cache,
}

impl Origin {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Local => 0,
            Self::Mirror => 1,
            Self::Cache => 2,
        }
    }

    pub(super) const fn of(code: u8) -> Self {
        match code {
            0 => Self::Local,
            2 => Self::Cache,
            _ => Self::Mirror,
        }
    }
}

/// A manifest: its bytes and media type are exactly what was pushed.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its digest and bytes.
    pub blob: Blob,
    /// As pushed.
    pub media_type: MediaType,
}

/// A blob, ready to be read.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// The bytes.
    pub body: BlobBody,
}

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub enum BlobBody {
    /// In memory.
    Inline(Bytes),
    /// In an open content file.
    File(Arc<File>),
}

/// A manifest on its way in.
#[derive(Debug, Clone)]
pub struct PutManifest {
    /// The bytes.
    pub bytes: Bytes,
    /// The media type it was pushed with.
    pub media_type: Option<MediaType>,
    /// Tag or digest that it was pushed under.
    pub reference: Reference,
    /// Further tags for it (`?tag=`).
    pub tags: Vec<Tag>,
    /// Where it comes from.
    pub source: Source,
}

/// What became of a [`PutManifest`].
#[derive(Debug, Clone)]
pub struct Put {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest that it refers to.
    pub subject: Option<Digest>,
    /// Every tag that means it now.
    pub tags: Vec<Tag>,
    /// Tags that a mirror run would have moved to it and that stay.
    pub kept: Vec<MovedTag>,
}

/// A tag of something attached that was moved here, and so is left by mirror runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTag {
    /// The tag.
    pub tag: Tag,
    /// What it means.
    pub here: Digest,
    /// What the other registry has under it.
    pub brought: Digest,
}

/// One page of tags, in ASCII order.
#[derive(Debug, Clone)]
pub struct TagPage {
    /// The tags; of the past there may be none on a page that is not the last.
    pub tags: Vec<Tag>,
    /// After which tag the next page goes on, if there is one. It need not be on this page.
    pub next: Option<String>,
}

/// One page of repository names, in ASCII order.
#[derive(Debug, Clone, Default)]
pub struct NamePage {
    /// The names.
    pub names: Vec<RepoName>,
    /// After which name the next page goes on, if there may be one. It need not be one that anybody may see.
    pub next: Option<String>,
}

/// One page of referrers.
#[derive(Debug, Clone, Default)]
pub struct ReferrerPage {
    /// Descriptors, as JSON objects.
    pub descriptors: Vec<Box<serde_json::value::RawValue>>,
    /// Where the next page goes on, if there is one.
    pub next: Option<ReferrerEnd>,
}

impl ReferrerPage {
    /// Most descriptors of one page.
    pub const ROWS: usize = 1000;
}

/// A repository, for people and scripts.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct RepoView {
    /// Its name.
    pub name: String,
    /// What it holds; none for a kind that this version does not know.
    #[serde(default = "oci")]
    pub kind: Option<Kind>,
    /// How it gets its content.
    pub origin: Origin,
    /// Its newest revision.
    pub rev: Rev,
    /// Live tags.
    pub tags: u64,
    /// Live manifests.
    pub manifests: u64,
    /// Live files.
    #[serde(default)]
    pub files: u64,
    /// Bytes of its blobs, manifests and files, each content once.
    pub bytes: u64,
    /// The oldest revision that can still be read.
    pub horizon: Rev,
    /// How long its history keeps what was closed (ms); none: as configured.
    pub keep_ms: Option<u64>,
    /// Whether it takes pushes of what is attached to its manifests; none for one that takes every push.
    #[serde(default)]
    pub attachments: Option<bool>,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the value of a field that may be missing"
)]
fn oci() -> Option<Kind> {
    Some(Kind::Oci)
}

/// How long a repository's history keeps what was closed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryKeep {
    /// As the configuration says.
    AsConfigured,
    /// So many milliseconds.
    Ms(u64),
}

impl HistoryKeep {
    pub(super) const fn ms(self) -> Option<u64> {
        match self {
            Self::AsConfigured => None,
            Self::Ms(ms) => Some(ms),
        }
    }
}

impl fmt::Display for HistoryKeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsConfigured => f.write_str("as configured"),
            Self::Ms(ms) => write!(f, "{ms} ms"),
        }
    }
}

/// What of a repository's settings becomes another; what is `None` stays.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
pub struct SettingsChange {
    /// How long its history keeps what was closed.
    pub keep: Option<HistoryKeep>,
    /// Whether a mirror takes pushes of what is attached to its manifests.
    pub attachments: Option<bool>,
}

/// One change of a tag.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct TagChange {
    /// The revision that made it.
    pub rev: Rev,
    /// When (wall clock, ms).
    pub at_ms: u64,
    /// By whom.
    pub who: String,
    /// What the tag means since then; `None`: it was removed.
    pub digest: Option<Digest>,
}

impl From<&Source> for SourceRecord {
    fn from(source: &Source) -> Self {
        match source {
            Source::Push { by } => Self::Push(by.clone()),
            Source::Registry {
                registry,
                name,
                digest,
            } => Self::Registry {
                registry: registry.clone(),
                name: name.clone(),
                digest: digest.as_key().to_vec(),
            },
        }
    }
}
