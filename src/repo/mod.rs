//! Repositories: items and their history, references, uploads. STUB.
use crate::store::StoreError;
use crate::types::{Algorithm, ContentRange, Digest, MediaType, Page, Reference, RepoName, Rev, Tag, UploadId};
use crate::{blobs::{BlobError, Blobs, Ingest}, store::Store};
use bytes::Bytes;
use futures_util::Stream;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    #[error("repository {0} does not exist")] NameUnknown(RepoName),
    #[error("{0} is not known here")] ManifestUnknown(String),
    #[error("blob {0} is not known in this repository")] BlobUnknown(Digest),
    #[error("this upload does not exist, was finished or cancelled")] UploadUnknown,
    #[error("the chunk starts at {got}, but {want} bytes have arrived")] OutOfOrder { want: u64, got: u64 },
    #[error("the chunk is {got} bytes, its header says {want}")] Size { want: u64, got: u64 },
    #[error("{0}")] Digest(String),
    #[error("the manifest cannot be taken: {0}")] ManifestInvalid(String),
    #[error("the manifest names content that is not in this repository")] ManifestBlobUnknown(Vec<Digest>),
    #[error("the manifest is larger than {0} bytes")] TooLarge(u64),
    #[error("{0}")] ReadOnly(String),
    #[error("{0}")] Refused(String),
    #[error("another request is writing to this upload")] UploadBusy,
    #[error("the content was cut short: {0}")] Body(String),
    #[error(transparent)] Blob(#[from] BlobError),
    #[error(transparent)] Store(#[from] StoreError),
}

/// Who or what an item came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source { /// pushed by this user (empty: anonymous)
    Push { by: String }, /// copied from a registry
    Registry { registry: String, name: String, digest: Digest } }

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin { Local, Mirror }

#[derive(Debug, Clone)]
pub struct Manifest { pub digest: Digest, pub media_type: MediaType, pub bytes: Bytes }
#[derive(Debug)]
pub struct Blob { pub digest: Digest, pub size: u64, pub body: BlobBody }
#[derive(Debug)]
pub enum BlobBody { Inline(Bytes), File(std::fs::File) }

#[derive(Debug, Clone)]
pub struct PutManifest { pub bytes: Bytes, pub media_type: Option<MediaType>, pub reference: Reference, /// ?tag=
    pub tags: Vec<Tag>, pub source: Source }
#[derive(Debug, Clone)]
pub struct Put { pub digest: Digest, pub subject: Option<Digest>, pub tags: Vec<Tag> }
#[derive(Debug, Clone)]
pub struct TagPage { pub tags: Vec<Tag>, pub more: bool }
/// One page of the referrers' descriptors (JSON objects), newest key order; `next` continues.
#[derive(Debug, Clone)]
pub struct ReferrerPage { pub descriptors: Vec<serde_json::Value>, pub next: Option<String> }
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct RepoView { pub name: String, pub origin: Origin, pub rev: Rev, pub tags: u64, pub manifests: u64, pub bytes: u64 }
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct TagChange { pub rev: Rev, pub at_ms: u64, pub who: String, /// None: the tag was removed
    pub digest: Option<Digest> }

#[derive(Debug, Clone)]
pub struct RepoOptions { pub lease: Duration, pub upload_idle: Duration, pub manifest_max: u64, /// refuse manifests whose children are missing
    pub strict: bool, pub cache_bytes: u64 }

/// The repositories; cheap to clone. Methods are async, do their reads in one blocking hop and answer from memory where they can.
#[derive(Clone)]
pub struct Repos { _i: Arc<()> }
impl Repos {
    pub fn open(_s: Store, _b: Blobs, _o: RepoOptions) -> Result<Self, RepoError> { todo!() }
    pub fn exists_cached(&self) {}
    pub async fn exists(&self, _n: &RepoName) -> Result<bool, RepoError> { todo!() }
    pub async fn manifest(&self, _n: &RepoName, _r: &Reference) -> Result<Arc<Manifest>, RepoError> { todo!() }
    /// size of a blob (HEAD; renews a lease that is half gone)
    pub async fn blob_size(&self, _n: &RepoName, _d: &Digest) -> Result<u64, RepoError> { todo!() }
    pub async fn blob(&self, _n: &RepoName, _d: &Digest) -> Result<Blob, RepoError> { todo!() }
    pub async fn put_manifest(&self, _n: &RepoName, _p: PutManifest) -> Result<Put, RepoError> { todo!() }
    pub async fn delete_manifest(&self, _n: &RepoName, _d: &Digest, _who: &str) -> Result<(), RepoError> { todo!() }
    pub async fn delete_tag(&self, _n: &RepoName, _t: &Tag, _who: &str) -> Result<(), RepoError> { todo!() }
    pub async fn delete_blob(&self, _n: &RepoName, _d: &Digest) -> Result<(), RepoError> { todo!() }
    pub async fn tags(&self, _n: &RepoName, _p: &Page) -> Result<TagPage, RepoError> { todo!() }
    pub async fn tag_history(&self, _n: &RepoName, _t: &Tag) -> Result<Vec<TagChange>, RepoError> { todo!() }
    /// never fails for an unknown repository: an empty page
    pub async fn referrers(&self, _n: &RepoName, _d: &Digest, _artifact_type: Option<&str>, _after: Option<&str>) -> Result<ReferrerPage, RepoError> { todo!() }
    /// names after `last`, in order, at most `limit`, unfiltered (callers filter and ask again)
    pub async fn names(&self, _last: Option<&str>, _limit: usize) -> Result<Vec<RepoName>, RepoError> { todo!() }
    pub async fn view(&self, _n: &RepoName) -> Result<RepoView, RepoError> { todo!() }
    pub async fn create(&self, _n: &RepoName, _o: Origin) -> Result<(), RepoError> { todo!() }
    pub async fn delete(&self, _n: &RepoName, _who: &str) -> Result<(), RepoError> { todo!() }
    /// refuses a push into a mirror repo with the reason, before bytes
    pub async fn check_writable(&self, _n: &RepoName) -> Result<(), RepoError> { todo!() }
    // uploads
    pub async fn begin_upload(&self, _n: &RepoName, _a: Algorithm) -> Result<UploadId, RepoError> { todo!() }
    /// bytes that have arrived
    pub async fn upload_offset(&self, _n: &RepoName, _u: UploadId) -> Result<u64, RepoError> { todo!() }
    /// Streams a chunk in; returns the new offset. `len`: declared length, for the room check.
    pub async fn append<S, E>(&self, _n: &RepoName, _u: UploadId, _range: Option<ContentRange>, _len: Option<u64>, _body: S) -> Result<u64, RepoError>
    where S: Stream<Item = Result<Bytes, E>> + Send + Unpin, E: std::fmt::Display { todo!() }
    /// Last bytes (may be none), verify, commit: durable when this returns.
    pub async fn finish_upload<S, E>(&self, _n: &RepoName, _u: UploadId, _range: Option<ContentRange>, _len: Option<u64>, _body: S, _d: &Digest) -> Result<(), RepoError>
    where S: Stream<Item = Result<Bytes, E>> + Send + Unpin, E: std::fmt::Display { todo!() }
    pub async fn cancel_upload(&self, _n: &RepoName, _u: UploadId) -> Result<(), RepoError> { todo!() }
    /// Links a blob that lies in `from` (which the caller has found readable) into `n`; false if it is not there.
    pub async fn mount(&self, _n: &RepoName, _d: &Digest, _from: &RepoName) -> Result<bool, RepoError> { todo!() }
    /// Repositories that hold the blob, for a mount without `from` (at most `limit`): the caller picks one that may be read.
    pub async fn holders(&self, _d: &Digest, _limit: usize) -> Result<Vec<RepoName>, RepoError> { todo!() }
    // mirror
    /// For the mirror: an ingest to be filled by the caller (resumable by the same id) ...
    pub async fn fill(&self, _n: &RepoName, _u: UploadId, _a: Algorithm) -> Result<Ingest, RepoError> { todo!() }
    /// ... saved (checkpoint row) when it pauses ...
    pub async fn pause_fill(&self, _n: &RepoName, _i: Ingest) -> Result<(), RepoError> { todo!() }
    /// ... and finished: blob row and link, with a lease.
    pub async fn finish_fill(&self, _n: &RepoName, _i: Ingest, _d: &Digest) -> Result<(), RepoError> { todo!() }
    /// true if the repository shows the blob now (renews its lease).
    pub async fn has_blob(&self, _n: &RepoName, _d: &Digest) -> Result<bool, RepoError> { todo!() }
    /// One transaction that makes a whole closure visible: manifests children first, then tags. Works on mirror repos.
    pub async fn commit_closure(&self, _n: &RepoName, _manifests: Vec<PutManifest>, _who: &str) -> Result<Vec<Put>, RepoError> { todo!() }
    /// Saves open uploads, stops background work.
    pub async fn close(&self) { todo!() }
    pub fn counters(&self) -> RepoCounters { todo!() }
}
#[derive(Debug, Clone, Copy, Default)]
pub struct RepoCounters { pub open_uploads: u64, pub cache: crate::cache::Counters }
