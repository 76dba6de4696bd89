//! Owns the long-lived handles: opens them in order, reloads what can be reloaded, closes them in order.
//!
//! Each module below has its own small options; they are filled from the configuration here ([`options`]) and nowhere
//! else. Knows no HTTP: listeners are `http`'s, signals are `cli`'s.

mod audited;
mod background;
mod configured;
mod data;
mod entered;
mod first;
mod heard;
pub mod ops;
mod options;
mod runner;
mod secrets;
mod tally;

use crate::audit::{Audit, AuditError};
use crate::auth::{Auth, AuthError};
use crate::blobs::{BlobError, BlobErrorKind, Blobs};
use crate::config::Config;
use crate::datadir::{DirError, DirErrorKind};
use crate::gc::Collector;
use crate::gc::check::Checker;
use crate::jobs::{JobError, Jobs};
use crate::repo::{RepoError, Repos};
use crate::store::{Compacted, DatabaseStatus, Store, StoreError};
use crate::tls::{OwnPem, Tls, TlsError, TlsErrorKind};
use crate::upstream::Upstreams;
use crate::upstream::pull::PullThrough;
use ops::{Fault, FaultKind, TrustView};
use runner::Runner;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use data::{CONFIG, DirState, INITIAL_PASSWORD, look};
pub use entered::{Entered, Judged};
pub use first::{FirstPassword, init};

/// The open handles; cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Metadata.
    pub store: Store,
    /// Contents.
    pub blobs: Blobs,
    /// Repositories.
    pub repos: Repos,
    /// The collector; it runs when asked, and where a server keeps it running.
    pub collector: Collector,
    /// The checker; it runs when asked, and its scrub where a server keeps it running.
    pub checker: Checker,
    /// Accounts.
    pub auth: Auth,
    /// The audit trail; a server keeps it up to date, and each question brings it up to then.
    pub audit: Audit,
    /// Other registries that this one fetches from on demand.
    pub upstreams: Upstreams,
    /// What upstreams give.
    pub pull: PullThrough,
    /// Jobs.
    runner: Runner,
    /// Certificates; none without a TLS listener.
    pub tls: Option<Tls>,
    /// The configuration in force.
    pub config: Arc<arc_swap::ArcSwap<Config>>,
    initial: Arc<first::Initial>,
    given: Option<OwnPem>,
}

/// Why the data directory could not be opened or set up.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A file or directory of `app`'s own.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, #[source] std::io::Error),
    /// The directory is another's, or others can write it.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// There is something in the directory, and it is not Dryport's.
    #[error(
        "{dir} is not empty and holds no Dryport data. Choose an empty directory (--data DIR), or empty this one first",
        dir = .0.display()
    )]
    Foreign(PathBuf),
    /// `init` where data is.
    #[error("{dir} holds Dryport data already. Start it with: dryport serve --data {dir}", dir = .0.display())]
    Already(PathBuf),
    /// A command that needs data where none is.
    #[error(
        "there is no Dryport data in {dir}. Name another directory with --data DIR, or make it with: dryport init --data {dir}",
        dir = .0.display()
    )]
    Missing(PathBuf),
    /// A configuration that this binary cannot serve.
    #[error("{0}")]
    Config(String),
    /// The metadata store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The contents.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The repositories.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The accounts.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The jobs.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The audit trail.
    #[error("audit trail: {0}")]
    Audit(#[from] AuditError),
    /// The certificates.
    #[error("certificate: {0}")]
    Tls(#[from] TlsError),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl AppError {
    fn file(path: &Path, error: std::io::Error) -> Self {
        Self::File(path.to_owned(), error)
    }

    /// What kind of failure this is, in the words of the control API.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Foreign(_) | Self::Already(_) | Self::Missing(_) => FaultKind::State,
            Self::Dir(error) if error.kind() == DirErrorKind::Refused => FaultKind::State,
            Self::Config(_) => FaultKind::Usage,
            Self::Tls(error) if error.kind() == TlsErrorKind::Outside => FaultKind::State,
            Self::Store(error) => ops::of_store(error.kind()),
            Self::Blob(error) if error.kind() == BlobErrorKind::Damaged => FaultKind::Damaged,
            _ => FaultKind::Failed,
        }
    }
}

impl From<AppError> for Fault {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Auth(error) => error.into(),
            AppError::Repo(error) => error.into(),
            AppError::Store(error) => error.into(),
            error => {
                let remedy = match &error {
                    AppError::Tls(error) => error.remedy(),
                    _ => None,
                };
                Self::new(error.kind(), error.to_string()).mended_by(remedy)
            }
        }
    }
}

impl App {
    /// Opens everything below the data directory, in this order: lock and metadata, contents, repositories, certificates,
    /// signing keys, accounts. `holder` names this process to others who find the lock held. Blocks.
    pub fn open(dir: Entered, holder: &str) -> Result<Self, AppError> {
        data::prepare(&dir.config.data)?;
        let store = Store::open(options::store(&dir.config, holder))?;
        let opened = Self::open_with(store.clone(), dir);
        if opened.is_err() {
            store.close();
        }
        opened
    }

    fn open_with(store: Store, dir: Entered) -> Result<Self, AppError> {
        let Entered {
            config,
            given,
            for_check,
            ..
        } = dir;
        let open_blobs = if for_check {
            Blobs::open_for_check
        } else {
            Blobs::open
        };
        let blobs = store.with_room(|| open_blobs(options::blobs(&config, store.owed())))?;
        let repos = Repos::open(store.clone(), blobs.clone(), options::repos(&config))?;
        let tls = if config.listen.https.is_empty() {
            None
        } else {
            let open = || Tls::open(options::tls(&config, given.clone()));
            Some(store.with_room(open)?)
        };
        let keys = store.with_room(|| secrets::signing_keys(&config.data))?;
        let auth = Auth::open(store.clone(), options::auth(&config, keys))?;
        let audit = Audit::open(store.clone(), options::audit(&config))?;
        let upstreams = Upstreams::open(store.clone(), configured::upstreams(&config)?)?;
        let collector = Collector::new(repos.clone(), options::gc(&config));
        let checker = Checker::new(
            repos.clone(),
            blobs.clone(),
            auth.clone(),
            options::check(&config),
        );
        let initial = Arc::new(first::Initial::load(&config.data));
        let pull = PullThrough::new(repos.clone(), upstreams.clone());
        let jobs_of = store.clone();
        Ok(Self {
            store,
            blobs,
            repos,
            collector,
            checker,
            auth,
            audit,
            upstreams,
            pull,
            runner: Runner::new(Jobs::open(jobs_of)?),
            tls,
            config: Arc::new(arc_swap::ArcSwap::from_pointee(config)),
            initial,
            given,
        })
    }

    /// Opens what is there, for a command that finds no server running: refuses a directory without data. There are no
    /// certificates, since nobody connects.
    pub fn open_existing(dir: Entered, holder: &str) -> Result<Self, AppError> {
        match look(&dir.config.data)? {
            DirState::Ours => Self::open(dir.without_listeners(), holder),
            DirState::Empty => Err(AppError::Missing(dir.config.data)),
            DirState::Foreign => Err(AppError::Foreign(dir.config.data)),
        }
    }

    /// What the database of a directory is that nobody has open. Nothing of it is upgraded, and what this program may not open
    /// for work is looked at all the same. Blocks.
    pub fn database_status(dir: &Entered, holder: &str) -> Result<DatabaseStatus, AppError> {
        match look(&dir.config.data)? {
            DirState::Ours => Ok(DatabaseStatus::of_closed(&dir.config.data, holder)?),
            DirState::Empty => Err(AppError::Missing(dir.config.data.clone())),
            DirState::Foreign => Err(AppError::Foreign(dir.config.data.clone())),
        }
    }

    /// Takes over a new configuration and reads certificate and signing keys again. Returns the keys of settings that
    /// changed but count only after a restart. On an error the old configuration stays. Blocks.
    pub fn reload(&self, new: Config) -> Result<Vec<&'static str>, AppError> {
        let old = self.config.load_full();
        let upstreams = configured::upstreams(&new)?;
        Upstreams::check(upstreams.clone())?;
        let keys = secrets::signing_keys(&old.data)?;
        if let Some(tls) = &self.tls
            && tls.reconfigure(options::tls(&new, self.given_for(&old, &new)))?
        {
            tracing::info!(fingerprint = tls.fingerprint(), "the certificate changed");
        }
        self.auth.reconfigure(options::auth(&new, keys))?;
        self.audit.reconfigure(options::audit(&new));
        self.upstreams.reconfigure(upstreams)?;
        let restart = Config::restart_needed(&old, &new);
        self.config.store(Arc::new(options::keep_fixed(&old, new)));
        Ok(restart)
    }

    /// What root read at the start, if the new settings still name the same files.
    fn given_for(&self, old: &Config, new: &Config) -> Option<OwnPem> {
        let is_same = options::own_certificate(old) == options::own_certificate(new);
        self.given.clone().filter(|_| is_same)
    }

    /// To be called after a login by password: the file with the first password has then done its work.
    pub fn after_login(&self, user: &str) {
        self.initial.used(user);
    }

    /// Takes back big changes that were cut off; with `waits` not yet those of jobs that are about to go on with them.
    pub async fn tidy_stages(&self, waits: bool) -> Result<(), AppError> {
        let going = self.runner.jobs().await?.going().await?;
        self.repos
            .tidy_stages(|job| waits && going.contains(&job))
            .await?;
        Ok(())
    }

    /// Saves open uploads, ends background work, closes the store and gives the lock back. Listeners are closed before.
    pub async fn close(&self) {
        self.repos.close().await;
        self.flush_audit().await;
        let store = self.store.clone();
        // Waits for the last commit's fsync.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

/// Gives back to the file system what the database has free, while no server runs. Blocks.
pub fn compact(dir: &Entered) -> Result<Compacted, AppError> {
    let config = &dir.config;
    if look(&config.data)? != DirState::Ours {
        return Err(AppError::Missing(config.data.clone()));
    }
    let options = options::store(config, "dryport gc --compact");
    Ok(Store::compact(&options)?)
}

/// Refuses settings that are right one by one and that `serve` would refuse all the same. Blocks.
pub fn check_settings(config: &Config) -> Result<(), AppError> {
    configured::check(config)
}

/// How clients trust the server of this configuration, read from its certificate files; makes them if they are missing.
/// For use without a running server. Blocks.
pub fn trust(dir: &Entered) -> Result<TrustView, AppError> {
    let config = &dir.config;
    if look(&config.data)? != DirState::Ours {
        return Err(AppError::Missing(config.data.clone()));
    }
    let tls = Tls::open(options::tls(config, dir.given.clone()))?;
    Ok(ops::trust_view(&tls, config))
}
