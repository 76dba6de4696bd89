//! Repositories: items and their history, references, links, uploads, usage.
//!
//! Owns every row of the repository tables and the rules by which a digest becomes visible in a repository. Knows no
//! HTTP and no format: it asks a [`format::Format`] what bytes mean. Every change is durable when its method returns.
//!
//! `named` has the way from names to repositories, `removals` what goes and what is gone.

mod bounded;
pub mod check;
mod edit;
mod error;
mod failures;
mod files;
pub mod format;
mod history;
mod images;
mod named;
mod pushes;
mod quota;
mod readiness;
pub mod reclaim;
mod removals;
mod restore;
pub mod rows;
mod rules;
mod settings;
mod snapshots;
mod stage;
mod state;
mod uploads;
mod values;

pub use bounded::{Asker, LongRead};
pub use deletion::{Deleted, Removal};
pub use error::{RepoError, RepoErrorKind};
pub use files::{FileView, Filed, FolderEntry, FolderPage, NewFile, PartDone, PartRange, When};
pub use history::moment::Meant;
pub use images::closure::FetchedFor;
pub use images::referrers::{ReferrerEnd, ReferrerEndError, ReferrerQuery};
pub use quota::QuotaView;
pub use readiness::Readiness;
pub use restore::Restored;
pub use shown::At;
pub use snapshots::{DiffItem, Difference, NewSnapshot, SnapshotPage, SnapshotPlace, SnapshotView};
pub use stage::StageRecord;
pub use tree::Tree;
pub use uploads::fill::Fill;
pub use uploads::receive::BodyStream;
pub use values::{
    Blob, BlobBody, HistoryKeep, Manifest, MovedTag, NamePage, Origin, Put, PutManifest,
    ReferrerPage, RepoView, SettingsChange, Source, TagChange, TagPage,
};

use crate::blobs::Blobs;
use crate::cache::{self, Cache};
use crate::store::cause;
use crate::store::epochs::{Epochs, Held};
use crate::store::feed::FeedKind;
use crate::store::record::Record;
use crate::store::{Get, Lane, Need, Read, Store, StoreError, Table, Txn};
use crate::types::{Kind, RepoId, RepoName, UploadId, wall_ms};
use bounded::LongReads;
use format::Format;
use history::moment;
use home::Homes;
use images::{blob, past, read};
use named::{home, shown, tree};
use quota::{Turns, Uploads};
use removals::{deletion, removal};
use rows::keys::{self, DueKind};
use rows::record::RepoRecord;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tree::Trees;
use uploads::fills::Fills;
use uploads::memory::Memory;
use uploads::sessions::Sessions;
use uploads::{hashing, resume};

/// Settings of [`Repos`].
#[derive(Clone)]
pub struct RepoOptions {
    /// How long a link holds without a reference.
    pub lease: Duration,
    /// How long removed tags and untagged manifests stay restorable, unless their repository says otherwise.
    pub keep: Duration,
    /// An upload without a byte for this long is given up.
    pub upload_idle: Duration,
    /// The longest manifest in bytes.
    pub manifest_max: u64,
    /// Most unfinished uploads of one owner; at least 1.
    pub uploads_max: usize,
    /// Bytes of all uploads together that may be in memory.
    pub upload_memory: u64,
    /// Refuse manifests whose content is missing.
    pub strict: bool,
    /// Memory for manifests and small blobs.
    pub cache_bytes: u64,
    /// Reads the items of OCI repositories.
    pub format: &'static dyn Format,
}

/// Counters for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepoCounters {
    /// Unfinished uploads.
    pub open_uploads: u64,
    /// Bytes of uploads in memory.
    pub upload_memory: u64,
    /// The cache of manifests and small blobs.
    pub cache: cache::CacheCounters,
}

/// The repositories; cheap to clone.
#[derive(Clone)]
pub struct Repos(Arc<Inner>);

struct Inner {
    store: Store,
    blobs: Blobs,
    options: RepoOptions,
    manifests: Cache<read::ManifestKey, read::KnownManifest>,
    small: Cache<blob::BlobKey, blob::KnownBlob>,
    /// When what is known of rows ends.
    epochs: Arc<Epochs>,
    homes: Homes,
    /// Whether there is no quota at all.
    unlimited: Held,
    sessions: Sessions,
    /// The bytes of unfinished uploads.
    uploads: Arc<Uploads>,
    /// Who gives up history below which quota.
    turns: Turns,
    fills: Fills,
    /// Big changes that are under way here.
    stages: stage::Stages,
    /// The names of repositories that are no registries.
    trees: Trees,
    /// Files that were lately asked for.
    files: files::KnownFiles,
    /// Who hashes files of uploads.
    hashing: tokio::sync::Semaphore,
    memory: Memory,
    /// Held while a manifest is read.
    inspecting: Mutex<()>,
    /// Listings of folders.
    listings: LongReads,
    /// Lists of names that look far for a few.
    far: LongReads,
    /// Reads of the past that take more than a seek.
    past: LongReads,
    /// What was lately found in the past.
    recent: past::Recent,
    /// Names of the past that were lately asked for.
    names: moment::KnownNames,
    /// Searches for what needs something, before it is deleted.
    searches: LongReads,
    /// Searches for the oldest history, and for who keeps most of it.
    histories: LongReads,
    /// Held by who removes content files.
    removals: removal::Removals,
    /// The boot that wrote the upload files without a row: theirs are whole after a kill, not after a power cut.
    written_in_boot: Option<String>,
}

impl Repos {
    /// Opens the repositories over a store and a content directory.
    pub fn open(store: Store, blobs: Blobs, options: RepoOptions) -> Result<Self, RepoError> {
        let written_in_boot = resume::remember_boot(&store, &blobs)?;
        resume::drop_old_fills(&store, &blobs)?;
        let manifests = Cache::new(options.cache_bytes / 2, None, read::KnownManifest::weigh);
        let small = Cache::new(options.cache_bytes / 2, None, blob::KnownBlob::weigh);
        let uploads = Arc::new(Uploads::default());
        let sessions = Sessions::new(Arc::clone(&uploads));
        resume::count_left(&store, &blobs, &uploads, &sessions)?;
        let trees = Trees::load(&store)?;
        let epochs = store.epochs();
        let inner = Inner {
            store,
            blobs,
            turns: Turns::default(),
            memory: Memory::new(options.upload_memory),
            inspecting: Mutex::new(()),
            listings: LongReads::after_a_hop(),
            far: LongReads::new(),
            past: LongReads::new(),
            recent: past::recent(),
            names: moment::known_names(),
            searches: LongReads::after_a_hop(),
            histories: LongReads::after_a_hop(),
            removals: removal::Removals::default(),
            options,
            manifests,
            small,
            homes: Homes::new(Arc::clone(&epochs)),
            epochs,
            unlimited: Held::default(),
            sessions,
            uploads,
            fills: Fills::default(),
            stages: stage::Stages::default(),
            trees,
            files: files::known(),
            hashing: tokio::sync::Semaphore::new(hashing::AT_ONCE),
            written_in_boot,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// One read hop off the async threads.
    async fn hop<T: Send + 'static>(
        &self,
        mut read: impl FnMut(&Inner, &Read<'_>) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        let this = self.clone();
        self.block(move || this.0.store.read(|r| read(&this.0, r)))
            .await
    }

    /// One transaction of a client's request: durable when it answers.
    async fn write<T: Send + 'static>(
        &self,
        need: Need,
        name: &'static str,
        change: impl FnMut(&mut Txn<'_>) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        let store = &self.0.store;
        store.write(Lane::Request, need, name, change).await
    }

    /// The same of a rare change that may touch any repository and that no row of the feed tells of: all that memory knows
    /// ends.
    async fn change_any<T: Send + 'static>(
        &self,
        lane: Lane,
        need: Need,
        name: &'static str,
        mut change: impl FnMut(&mut Txn<'_>) -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        let change = move |tx: &mut Txn<'_>| {
            tx.ends_everything();
            change(tx)
        };
        self.0.store.write(lane, need, name, change).await
    }

    /// Blocking work off the async threads.
    async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RepoError> + Send + 'static,
    ) -> Result<T, RepoError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(e) => Err(RepoError::Task(e.to_string())),
        }
    }

    /// Work that is not left half done when the client goes away.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, RepoError>> + Send + 'static,
    ) -> Result<T, RepoError> {
        match tokio::spawn(cause::carried(work)).await {
            Ok(result) => result,
            Err(e) => Err(RepoError::Task(e.to_string())),
        }
    }

    fn context(&self, who: &str, why: &'static str) -> edit::Context {
        edit::Context {
            who: who.into(),
            why,
            at_ms: wall_ms(),
            lease_ms: self.0.options.lease.as_millis() as u64,
            keep_ms: self.0.options.keep.as_millis() as u64,
        }
    }

    /// How the repository of this name gets its content, of whatever kind it is; none if there is none that readers see.
    pub async fn origin(&self, name: &RepoName) -> Result<Option<Origin>, RepoError> {
        let name = name.clone();
        self.hop(move |_, r| {
            let found = any_visible(r, name.as_str())?;
            Ok(found.map(|(_, record)| Origin::of(record.origin)))
        })
        .await
    }

    /// Whether the repository of images exists, as readers see it.
    pub async fn exists(&self, name: &RepoName) -> Result<bool, RepoError> {
        let name = name.clone();
        self.hop(move |_, r| Ok(visible(r, name.as_str(), Kind::Oci)?.is_some()))
            .await
    }

    /// Makes a repository of origin mirror unless the name has one of any origin; answers its number, which the run's
    /// fills and its commit belong to. Until its first commit nobody sees it but mirror runs.
    pub async fn ensure_mirror(&self, name: &RepoName) -> Result<RepoId, RepoError> {
        self.ensure_fetched(name, Origin::Mirror).await
    }

    /// The same of origin cache; refuses a name that another origin has.
    pub async fn ensure_cache(&self, name: &RepoName) -> Result<RepoId, RepoError> {
        let id = self.ensure_fetched(name, Origin::Cache).await?;
        let wanted = name.clone();
        let is_cache = self.hop(move |_, r| {
            let found = rows::find(r, wanted.as_str())?;
            Ok(found.is_some_and(|(_, record)| record.origin == Origin::Cache.code()))
        });
        if is_cache.await? {
            return Ok(id);
        }
        Err(RepoError::Exists(format!("{name} is here and is no cache")))
    }

    async fn ensure_fetched(&self, name: &RepoName, origin: Origin) -> Result<RepoId, RepoError> {
        let (wanted, at_ms) = (name.clone(), wall_ms());
        let found = self.hop(move |_, r| Ok(rows::find(r, wanted.as_str())?));
        if let Some((id, record)) = found.await? {
            pushes::is_of(name, &record, Kind::Oci)?;
            return Ok(id);
        }
        let name = name.clone();
        let write = self.write(Need::Grows, "repo.create", move |tx| {
            let (id, _) = match rows::find(tx, name.as_str())? {
                Some((id, record)) => {
                    pushes::is_of(&name, &record, Kind::Oci)?;
                    (id, record)
                }
                None => rows::create(tx, &name, Kind::Oci, origin.code(), at_ms)?,
            };
            Ok(id)
        });
        write.await
    }

    /// Drops the repository's name: nothing of it is served from then on. Its unfinished uploads end, its rows are dropped
    /// by the collector, or sooner by who asks for [`Repos::removal`].
    ///
    /// # Errors
    /// [`RepoError::Refused`] if it has snapshots, unless they go with it, and always if one of them is held.
    pub async fn delete(
        &self,
        name: &RepoName,
        who: &str,
        with_snapshots: bool,
    ) -> Result<Deleted, RepoError> {
        tracing::info!(target: "audit", action = "repo.delete", repo = %name, who);
        let wanted = name.clone();
        let (by, at_ms) = (who.to_owned(), wall_ms());
        let drop_name = move |tx: &mut Txn<'_>| {
            let (id, mut record) = any_visible(tx, wanted.as_str())?
                .ok_or_else(|| RepoError::NameUnknown(wanted.clone()))?;
            edit::not_staged(&record)?;
            snapshots::to_go_with(tx, id, &record, with_snapshots)?;
            record.deleted = true;
            tx.delete(Table::Meta, &keys::tree(wanted.as_str()))?;
            tx.put(Table::Repos, &keys::repo(id), &record.to_bytes()?)?;
            tx.delete(Table::Names, &keys::name(wanted.as_str()))?;
            let deleted = Deleted::new(id, tx.running_ms());
            let key = keys::due(tx.running_ms(), DueKind::Repo, &keys::repo(id));
            tx.put(Table::Due, &key, &[])?;
            let by = (by.as_str(), "repo.delete");
            rows::tell(tx, FeedKind::RepoDeleted, (id, &record), at_ms, by)?;
            Ok::<_, RepoError>((id, deleted))
        };
        let (repos, name) = (self.clone(), name.clone());
        self.to_its_end(async move {
            let drop = repos.unless_staged(Need::Keeps, "repo.delete", drop_name);
            let dropped = drop.await;
            repos.settle_tree(&name).await;
            let (id, deleted) = dropped?;
            if let Err(error) = repos.end_uploads_of(id).await {
                tracing::warn!(repo = id.0, %error, "some uploads of a deleted repository are removed a minute later");
            }
            Ok(deleted)
        })
        .await
    }

    /// Saves open uploads; no upload is taken up after this.
    pub async fn close(&self) {
        for id in self.0.sessions.ids() {
            if let Err(e) = self.save_session(id, None).await {
                tracing::warn!(upload = %id, error = %e, "the upload could not be saved and starts again from its last state");
            }
        }
    }

    /// Counters for metrics.
    pub fn counters(&self) -> RepoCounters {
        RepoCounters {
            open_uploads: self.0.sessions.len() as u64,
            upload_memory: self.0.memory.used(),
            cache: self.0.manifests.counters(),
        }
    }
}

/// A mirror or cache without a revision: it holds only what its first run has fetched so far. It is there for those who
/// fetch, who go on with it, and for nobody else.
fn is_unborn(record: &RepoRecord) -> bool {
    record.origin != Origin::Local.code() && record.head == 0
}

/// The repository of a name and kind, as readers see it.
fn visible(
    get: &impl Get,
    name: &str,
    kind: Kind,
) -> Result<Option<(RepoId, RepoRecord)>, StoreError> {
    Ok(any_visible(get, name)?.filter(|(_, record)| record.kind == kind.code()))
}

/// The same of any kind.
fn any_visible(get: &impl Get, name: &str) -> Result<Option<(RepoId, RepoRecord)>, StoreError> {
    Ok(rows::find(get, name)?.filter(|(_, record)| !is_unborn(record)))
}

/// A fresh upload id.
fn new_upload_id() -> Result<UploadId, RepoError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| RepoError::Task(e.to_string()))?;
    Ok(UploadId(id))
}
