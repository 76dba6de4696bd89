//! What a check finds, in words that scripts can rely on.

use crate::types::{Digest, Remedy};
use std::fmt;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $level:ident,)*) => {
        /// What is wrong; written in kebab-case, for example `blob-corrupt`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum ProblemKind {
            $($(#[doc = $doc])* $name,)*
        }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// How bad it is.
            pub const fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)* }
            }
        }
    };
}

kinds! {
    /// A content file is not there.
    BlobMissing = Damage,
    /// A content file is shorter or longer than its blob.
    BlobTruncated = Damage,
    /// A blob is whole, but its row gives another length.
    BlobSizeWrong = Damage,
    /// A content file's bytes are not those of its digest.
    BlobCorrupt = Damage,
    /// The disk refuses to read a content file; it may be whole.
    BlobUnreadable = Damage,
    /// Found damaged earlier, and not healed since.
    BlobAwaitsPush = Damage,
    /// Marked as damaged, but its bytes are whole.
    BlobWholeAgain = Damage,
    /// References name a blob that has no row.
    BlobRowMissing = Damage,
    /// A blob's row cannot be read.
    BlobRowUnreadable = Damage,
    /// A blob's row names a place that is not this digest's.
    BlobPlaceWrong = Damage,
    /// The bytes of a small blob are not in the database.
    InlineMissing = Damage,
    /// The bytes of a small blob are not those of its digest.
    InlineCorrupt = Damage,
    /// Bytes in the database that no blob's row needs.
    InlineExtra = Damage,
    /// A content file that no row names: a write that was cut off.
    StrayFile = Leftover,
    /// A file in `blobs/` that Dryport did not make.
    ForeignFile = Damage,
    /// A content file that a collection was about to remove.
    CondemnedLeft = Leftover,
    /// A content file is condemned although a blob's row names it.
    CondemnedInUse = Damage,
    /// A condemned row cannot be read; it holds up the collector.
    CondemnedUnreadable = Damage,
    /// An upload's row cannot be read.
    UploadUnreadable = Damage,
    /// An upload's row without its file.
    UploadWithoutFile = Damage,
    /// An upload's file is shorter than what its row says is on disk.
    UploadTorn = Damage,
    /// An upload's hash state cannot be restored.
    UploadStateUnreadable = Damage,
    /// An upload's row for a repository that does not exist.
    UploadWithoutRepo = Damage,
    /// An upload's file for a repository that never existed.
    UploadFileWithoutRepo = Damage,
    /// The row of a mirror's half-fetched blob cannot be read.
    FillUnreadable = Damage,
    /// The row of a half-fetched blob without its file.
    FillWithoutFile = Damage,
    /// The file of a half-fetched blob is shorter than what its row says is on disk.
    FillTorn = Damage,
    /// The hash state of a half-fetched blob cannot be restored.
    FillStateUnreadable = Damage,
    /// The row of a half-fetched blob for a repository that does not exist.
    FillWithoutRepo = Damage,
    /// The file of a half-fetched blob that no row names.
    FillFileLeft = Leftover,
    /// A file in `uploads/` that Dryport did not make.
    ForeignUpload = Damage,
    /// A repository's row is gone, but its rows are there.
    RepoMissing = Damage,
    /// A repository's row cannot be read.
    RepoUnreadable = Damage,
    /// A repository's name leads nowhere, or to another one.
    NameMissing = Damage,
    /// A name without a repository.
    NameExtra = Damage,
    /// Two repositories have one name.
    NameTwice = Damage,
    /// A repository has revisions after its newest one.
    HeadBehind = Damage,
    /// The oldest revision that can be read is after the newest.
    HorizonAhead = Damage,
    /// A repository is held for a big change that is not there.
    StageMissing = Damage,
    /// The next repository would get a number that is in use.
    RepoNumberBehind = Damage,
    /// An item's row cannot be read.
    ItemUnreadable = Damage,
    /// An item's row contradicts itself.
    ItemInconsistent = Damage,
    /// References and history name an item whose row is gone.
    ItemMissing = Damage,
    /// A tag means a manifest that is not there.
    TagDangling = Damage,
    /// An item's reference is missing.
    RefMissing = Damage,
    /// A reference without an item.
    RefExtra = Damage,
    /// A reference keeps nothing, although the repository has what it names.
    RefWrongClass = Damage,
    /// A live manifest names content that is not here and that an older version may have removed.
    ContentMissing = Damage,
    /// A live manifest's blob is not shown by its repository.
    LinkMissing = Damage,
    /// A lease whose end cannot be read.
    LeaseUnreadable = Damage,
    /// A lease of a manifest that is not there, or a mark of how one came.
    HeldExtra = Damage,
    /// A manifest is missing among the referrers of its subject.
    ReferrerMissing = Damage,
    /// A referrer that is no item.
    ReferrerExtra = Damage,
    /// A referrer's row differs from its manifest.
    ReferrerWrong = Damage,
    /// A change is missing in the history.
    ChangeMissing = Damage,
    /// Time and person of a revision are missing or cannot be read.
    ChangeHeadMissing = Damage,
    /// A change in the history that no item knows of.
    ChangeExtra = Damage,
    /// A revision is kept for a snapshot that there is not.
    PinExtra = Damage,
    /// A snapshot keeps nothing.
    PinMissing = Damage,
    /// A pin cannot be read.
    PinUnreadable = Damage,
    /// A snapshot's row cannot be read.
    SnapshotUnreadable = Damage,
    /// A repository counts other live files of a content than it has.
    FilesWrong = Damage,
    /// A repository that is no registry is not found by its paths, or a path would find none.
    TreeWrong = Damage,
    /// A repository's figures are wrong.
    UsageWrong = Damage,
    /// Figures of a repository that is not there.
    UsageExtra = Damage,
    /// A quota's row cannot be read.
    QuotaUnreadable = Damage,
    /// A quota counts other bytes than are shown.
    QuotaWrong = Damage,
    /// A quota counts a digest too often or not often enough.
    QuotaHoldersWrong = Damage,
    /// The end of a lease would go unnoticed.
    LeaseDueMissing = Damage,
    /// A blob without a reference would never be freed.
    OrphanDueMissing = Damage,
    /// A manifest that nothing needs would stay for ever.
    UntaggedDueMissing = Damage,
    /// A revision's history would never be forgotten.
    HistoryDueMissing = Damage,
    /// A deleted repository's rows would stay for ever.
    RepoDueMissing = Damage,
    /// A row of the collector's list cannot be read.
    DueUnreadable = Damage,
    /// A row of the collector's list asks for what never was, or at a time that never comes.
    DueExtra = Damage,
    /// A row of the feed cannot be read.
    FeedUnreadable = Damage,
    /// The feed does not tell of a repository's newest revision.
    FeedMissing = Damage,
    /// An account's row cannot be read.
    AccountUnreadable = Damage,
    /// An account's password hash cannot be read: nobody can log in with it.
    AccountPasswordUnreadable = Damage,
    /// An account's grants are not as they could have been given.
    AccountGrantsWrong = Damage,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_value(self).unwrap_or_default();
        f.write_str(text.as_str().unwrap_or("unknown"))
    }
}

/// How bad a problem is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Something is not as it must be.
    Damage,
    /// What a crash leaves: it costs room, nothing else.
    Leftover,
}

/// A registry that had the content.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct CameFrom {
    /// Host and port.
    pub registry: String,
    /// Repository there.
    pub name: String,
    /// Digest there.
    pub digest: Digest,
    /// It is a manifest, not a blob.
    pub is_manifest: bool,
}

impl CameFrom {
    /// `HOST[:PORT]/NAME`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.name)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// What sort of thing.
    pub kind: ProblemKind,
    /// How bad.
    pub level: Level,
    /// What exactly, for people.
    pub what: String,
    /// The repository, by name, where it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The digest that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The file that it is about, below the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Live tags that do not work as they should because of it, as `REPOSITORY:TAG`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Registries that had the content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<CameFrom>,
    /// Nothing of it is left.
    pub repaired: bool,
    /// What was done about it, or what a person can do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub how: String,
    /// What whoever runs this server can do about it, if something is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: ProblemKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            level: kind.level(),
            what: what.into(),
            repo: None,
            digest: None,
            file: None,
            tags: Vec::new(),
            upstreams: Vec::new(),
            repaired: false,
            how: String::new(),
            remedy: None,
        }
    }

    /// The same, of this repository.
    #[must_use]
    pub fn repo(mut self, name: impl Into<String>) -> Self {
        self.repo = Some(name.into());
        self
    }

    /// The same, about this digest.
    #[must_use]
    pub fn digest(mut self, digest: &Digest) -> Self {
        self.digest = Some(*digest);
        self
    }

    /// The same, about this file below the data directory.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// The same, with what to do or what was done.
    #[must_use]
    pub fn how(mut self, how: impl Into<String>) -> Self {
        self.how = how.into();
        self
    }

    /// The same, with what helps.
    #[must_use]
    pub fn mended_by(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Nothing of it is left.
    #[must_use]
    pub fn done(mut self, how: impl Into<String>) -> Self {
        (self.repaired, self.remedy) = (true, None);
        self.how(how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_in_kebab_case() {
        assert_eq!(ProblemKind::BlobCorrupt.to_string(), "blob-corrupt");
        assert_eq!(ProblemKind::StrayFile.level(), Level::Leftover);
        assert!(ProblemKind::ALL.len() >= 50);
    }
}
