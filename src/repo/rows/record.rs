//! The records of repositories, items and what is derived from them; the golden files pin their bytes.

use crate::store::StoreError;
use crate::store::record::{Decode, Encode, Record, decode_body};
use crate::types::{Class, Counted, Digest, Rev};

macro_rules! record {
    ($type:ident, $name:literal, $version:literal) => {
        impl Record for $type {
            const NAME: &'static str = $name;
            const VERSION: u8 = $version;
        }
    };
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RepoRecord {
    /// Its name (kept after deletion, for reports).
    pub name: String,
    /// A code of [`Kind`](crate::types::Kind).
    pub kind: u8,
    /// 0 = local, 1 = mirror, 2 = cache.
    pub origin: u8,
    /// Refuse manifests whose content is missing; `None` follows the configuration.
    pub strict: Option<bool>,
    /// The newest revision.
    pub head: u64,
    /// The oldest revision that can be read.
    pub horizon: u64,
    /// The job that holds the repository for a big change.
    pub stage: Option<u64>,
    /// When it was made (wall clock, ms).
    pub created_ms: u64,
    /// Its name was dropped.
    pub deleted: bool,
    /// How long its history keeps what was closed (ms); `None` follows the configuration.
    pub keep_ms: Option<u64>,
    /// Of a mirror: it takes pushes of what is attached to its manifests.
    pub attachments: bool,
}

impl Record for RepoRecord {
    const NAME: &'static str = "repo";
    const VERSION: u8 = 3;

    fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, StoreError>> {
        match version {
            1 => Some(decode_body::<RepoRecordV1>(Self::NAME, body).map(Self::from)),
            2 => Some(decode_body::<RepoRecordV2>(Self::NAME, body).map(Self::from)),
            _ => None,
        }
    }
}

/// [`RepoRecord`] as of version 1.
#[derive(Decode)]
struct RepoRecordV1 {
    name: String,
    kind: u8,
    origin: u8,
    strict: Option<bool>,
    head: u64,
    horizon: u64,
    stage: Option<u64>,
    created_ms: u64,
    deleted: bool,
}

/// [`RepoRecord`] as of version 2: a mirror took no pushes.
#[derive(Decode)]
struct RepoRecordV2 {
    first: RepoRecordV1,
    keep_ms: Option<u64>,
}

impl From<RepoRecordV1> for RepoRecord {
    fn from(old: RepoRecordV1) -> Self {
        Self {
            name: old.name,
            kind: old.kind,
            origin: old.origin,
            strict: old.strict,
            head: old.head,
            horizon: old.horizon,
            stage: old.stage,
            created_ms: old.created_ms,
            deleted: old.deleted,
            keep_ms: None,
            attachments: true,
        }
    }
}

impl From<RepoRecordV2> for RepoRecord {
    fn from(old: RepoRecordV2) -> Self {
        Self {
            keep_ms: old.keep_ms,
            ..old.first.into()
        }
    }
}

/// Where an item came from.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SourceRecord {
    /// Pushed by this user; empty for anonymous.
    Push(String),
    /// Copied from a registry.
    Registry {
        /// Host and port.
        registry: String,
        /// Repository there.
        name: String,
        /// Digest there, in key form.
        digest: Vec<u8>,
    },
}

/// What a name meant from `added_rev` (in the key) to `removed`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ItemRecord {
    /// The first revision that does not show it any more; `u64::MAX` while it is live.
    pub removed: u64,
    /// Digest of the manifest, in key form.
    pub target: Vec<u8>,
    /// Its length.
    pub size: u64,
    /// Its media type, as pushed.
    pub media_type: String,
    /// Where it came from.
    pub source: SourceRecord,
    /// When (wall clock, ms).
    pub at_ms: u64,
    /// The format's own: for an OCI manifest the subject's digest in key form, or nothing.
    pub own: Vec<u8>,
    /// The artifact type that its referrer row stands under.
    pub artifact_type: String,
}
record!(ItemRecord, "item", 1);

impl ItemRecord {
    /// The target digest, if the row is whole.
    pub fn digest(&self) -> Option<Digest> {
        Digest::from_key(&self.target).ok()
    }

    /// Whether no revision shows it: the collector hid it before it drops it.
    pub fn is_hidden(&self, added: Rev) -> bool {
        self.removed == added.0
    }
}

/// Time, person and reason of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ChangeRecord {
    /// Wall clock, ms.
    pub at_ms: u64,
    /// Who.
    pub who: String,
    /// Why: the action's name.
    pub why: String,
}
record!(ChangeRecord, "change", 1);

/// A blob that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BlobRecord {
    /// Length in bytes.
    pub size: u64,
    /// Wall clock, ms.
    pub first_seen_ms: u64,
    /// The content file, or `None` if the bytes lie in the table `bytes`.
    pub place: Option<String>,
    /// Found damaged: not served until it is pushed again.
    pub damaged: bool,
}
record!(BlobRecord, "blob", 1);

/// A referrer's descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReferrerRecord {
    /// As in [`ItemRecord`].
    pub removed: u64,
    /// The referrer's media type.
    pub media_type: String,
    /// Its length.
    pub size: u64,
    /// Its annotations, unless they are long.
    pub annotations: Vec<(String, String)>,
    /// The annotations are long and stand in the manifest only.
    pub long: bool,
}
record!(ReferrerRecord, "referrer", 1);

/// What is needed to take up an upload after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct UploadRecord {
    /// The repository's id.
    pub repo: u64,
    /// The algorithm's code.
    pub algorithm: u8,
    /// Bytes that the hash state covers; all of them are on disk.
    pub offset: u64,
    /// The hash state.
    pub hash_state: Vec<u8>,
    /// The machine's boot that wrote the file.
    pub boot_id: String,
    /// Wall clock, ms.
    pub saved_ms: u64,
    /// Who began it: an account, or an address; empty if that is not known.
    pub owner: String,
}

impl Record for UploadRecord {
    const NAME: &'static str = "upload";
    const VERSION: u8 = 2;

    fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, StoreError>> {
        (version == 1).then(|| decode_body::<UploadRecordV1>(Self::NAME, body).map(Self::from))
    }
}

/// [`UploadRecord`] as of version 1.
#[derive(Decode)]
struct UploadRecordV1 {
    repo: u64,
    algorithm: u8,
    offset: u64,
    hash_state: Vec<u8>,
    boot_id: String,
    saved_ms: u64,
}

impl From<UploadRecordV1> for UploadRecord {
    fn from(old: UploadRecordV1) -> Self {
        Self {
            repo: old.repo,
            algorithm: old.algorithm,
            offset: old.offset,
            hash_state: old.hash_state,
            boot_id: old.boot_id,
            saved_ms: old.saved_ms,
            owner: String::new(),
        }
    }
}

/// A blob that a mirror run fetches, as far as it has come. The algorithm is that of the digest in its key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FillRecord {
    /// The id in its file's name: random, and known to nobody else.
    pub id: [u8; 16],
    /// Bytes that the hash state covers; all of them are on disk.
    pub offset: u64,
    /// The hash state.
    pub hash_state: Vec<u8>,
    /// The machine's boot that wrote the file.
    pub boot_id: String,
    /// Wall clock, ms.
    pub saved_ms: u64,
}
record!(FillRecord, "fill", 1);

/// What a repository holds at its head.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct UsageRecord {
    /// Live tags.
    pub tags: u64,
    /// Live manifests.
    pub manifests: u64,
    /// Bytes of linked blobs, live manifests and live files, each content once.
    pub bytes: u64,
    /// Live files.
    pub files: u64,
}

impl Record for UsageRecord {
    const NAME: &'static str = "usage";
    const VERSION: u8 = 2;

    fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, StoreError>> {
        (version == 1).then(|| decode_body::<UsageRecordV1>(Self::NAME, body).map(Self::from))
    }
}

/// [`UsageRecord`] as of version 1: there were images alone.
#[derive(Decode)]
struct UsageRecordV1 {
    tags: u64,
    manifests: u64,
    bytes: u64,
}

impl From<UsageRecordV1> for UsageRecord {
    fn from(old: UsageRecordV1) -> Self {
        Self {
            tags: old.tags,
            manifests: old.manifests,
            bytes: old.bytes,
            files: 0,
        }
    }
}

impl UsageRecord {
    /// A live item of this class and of so many bytes came.
    pub fn add(&mut self, class: Class, size: u64) {
        match class.facts().counted {
            Some(Counted::Tags) => self.tags += 1,
            Some(Counted::Manifests) => {
                self.manifests += 1;
                self.bytes += size;
            }
            // Its bytes count with the first file that has them.
            Some(Counted::Files) => self.files += 1,
            None => {}
        }
    }

    /// It went.
    pub fn take(&mut self, class: Class, size: u64) {
        match class.facts().counted {
            Some(Counted::Tags) => self.tags = self.tags.saturating_sub(1),
            Some(Counted::Manifests) => {
                self.manifests = self.manifests.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(size);
            }
            Some(Counted::Files) => self.files = self.files.saturating_sub(1),
            None => {}
        }
    }
}

/// A name for a revision that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotRecord {
    /// The revision.
    pub rev: u64,
    /// When it was made (wall clock, ms).
    pub at_ms: u64,
    /// Who made it.
    pub who: String,
    /// When it ends (running ms); `None`: when somebody deletes it.
    pub ends: Option<u64>,
    /// It cannot be deleted until this is taken back.
    pub held: bool,
    /// The root digest of what it shows, in key form, once it was computed.
    pub root: Option<Vec<u8>>,
}
record!(SnapshotRecord, "snapshot", 1);

/// A quota on a prefix of repository names.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QuotaRecord {
    /// Bytes that may be shown.
    pub limit: u64,
    /// Bytes that the history alone may keep; `None`: as many as may be shown.
    pub history_limit: Option<u64>,
    /// Bytes shown, each digest once.
    pub used: u64,
    /// Bytes kept and not shown, each digest once.
    pub history: u64,
    /// While it is being counted how often digests are shown: the last place that was, a digest in key form and a
    /// repository id; nothing before the first.
    pub counted_to: Option<Vec<u8>>,
    /// The same of the repositories that keep digests.
    pub held_to: Option<Vec<u8>>,
}

impl Record for QuotaRecord {
    const NAME: &'static str = "quota";
    const VERSION: u8 = 2;

    fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, StoreError>> {
        (version == 1).then(|| decode_body::<QuotaRecordV1>(Self::NAME, body).map(Self::from))
    }
}

/// [`QuotaRecord`] as of version 1: the history did not count, and a place was a whole digest.
#[derive(Decode)]
struct QuotaRecordV1 {
    limit: u64,
    used: u64,
    counted_to: Option<Vec<u8>>,
}

impl From<QuotaRecordV1> for QuotaRecord {
    fn from(old: QuotaRecordV1) -> Self {
        let whole = |mut digest: Vec<u8>| {
            if !digest.is_empty() {
                digest.extend(u64::MAX.to_be_bytes());
            }
            digest
        };
        Self {
            limit: old.limit,
            history_limit: None,
            used: old.used,
            history: 0,
            counted_to: old.counted_to.map(whole),
            held_to: Some(Vec::new()),
        }
    }
}

/// A content file that no row names any more and that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CondemnedRecord {
    /// The digest that it held, in key form.
    pub digest: Vec<u8>,
    /// Wall clock, ms.
    pub at_ms: u64,
}
record!(CondemnedRecord, "condemned", 1);

#[cfg(test)]
mod tests;
