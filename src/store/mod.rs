//! The metadata store (DESIGN.md section 3), over an engine that keeps its rows: redb, in `redb/` and only there.
//!
//! Owns `DIR/meta.redb`, its log, `DIR/lock` and `DIR/reserve`: tables, order-preserving keys, versioned records, one writer
//! thread that group-commits, the feed, schema upgrades, compaction. It knows tables, not what their rows mean, and imports
//! nothing but `types`. Nobody else sees the engine or bincode.
//!
//! A write is a closure that decides from rows alone, has no side effects and may be dropped or answered with an
//! unknown outcome. It is durable when its caller has the answer, and every later read sees it.

pub mod cause;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
pub(crate) mod contract;
mod disk;
mod engine;
pub mod epochs;
mod error;
pub mod feed;
mod file;
mod log;
mod need;
mod redb;
mod rows;
mod txn;
mod writer;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests;

pub use engine::KeySpan;
pub use error::{StoreError, StoreErrorKind};
pub use file::compact::Compacted;
pub use file::status::{DatabaseCopy, DatabaseStatus};
pub use need::Need;
pub use read::{Get, Read, Row, Way};
pub use rows::{key, record};
pub use stats::{BATCH_BOUNDS, COMMIT_MICROS_BOUNDS, Counters};
pub use table::{KEY_LIMIT, Table};
pub use txn::{ROW_LIMIT, Txn};
pub use versions::Versions;
/// What the power-cut tests put in the place of the machine.
#[cfg(test)]
pub(crate) use {
    disk::{Disk, DiskFile},
    file::compact::compact_on,
};

use cause::Cause;
use disk::{lend, lock, reserve};
use engine::{Engine, ReadRows};
use epochs::Epochs;
use file::{steps, versions};
use lanes::{Lanes, PATIENCE, Pending, Reply};
use rows::{read, table};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use writer::{Shared, lanes, stats};

/// The engine under the store.
pub(crate) type Backend = self::redb::Redb;

/// Schema version this binary writes.
pub const SCHEMA: u32 = 7;

/// Options (filled by `app`).
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Data directory; `meta.redb`, its log, `lock` and `reserve` live in it. Created with mode 0700 if absent.
    pub dir: PathBuf,
    /// Bytes of redb's page cache.
    pub cache_bytes: u64,
    /// Batches slower than this, running and committing together, are logged.
    pub slow: Duration,
    /// How the lock names its holder, for example "dryport serve".
    pub holder: String,
    /// Bytes of the preallocated reserve file, for changes that remove and those of the operator; 0 is none.
    pub reserve_bytes: u64,
    /// Bytes of the file system that changes which grow leave free besides.
    pub floor_bytes: u64,
    /// Bytes of changes that wait in the log until redb syncs its file; 0 is none: every batch waits for redb.
    pub log_bytes: usize,
    /// An upgrade goes on without a copy of the database where the disk has no room for one.
    pub upgrade_without_copy: bool,
}

/// Which lane a write waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A client waits.
    Request,
    /// Background work, at most one a batch.
    Background,
}

/// The store; cheap to clone. Dropping the last handle closes it.
pub struct Store<E: Engine = Backend> {
    inner: Arc<Inner<E>>,
}

impl<E: Engine> Clone for Store<E> {
    fn clone(&self) -> Self {
        let inner = Arc::clone(&self.inner);
        Self { inner }
    }
}

struct Inner<E: Engine> {
    shared: Arc<Shared<E>>,
    /// The writer and the lock, until the store is closed.
    running: Mutex<Option<(JoinHandle<()>, lock::DirLock)>>,
}

/// A guard whatever happened to earlier holders: what the store keeps under mutexes is valid after each statement.
fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens or creates; takes the exclusive lock.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_over(options, disk::machine())
    }

    /// The same on a disk of a test's.
    #[cfg(test)]
    pub(crate) fn open_with(
        options: StoreOptions,
        opener: disk::Opener,
    ) -> Result<Self, StoreError> {
        Self::open_over(options, opener)
    }
}

impl<E: Engine> Store<E> {
    /// Changes with each batch that was committed: who follows the feed sleeps on it, and then reads on from its cursor.
    pub fn fed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.shared.fed.subscribe()
    }

    /// The epochs of what memory knows of this store's rows.
    pub fn epochs(&self) -> Arc<Epochs> {
        Arc::clone(&self.inner.shared.epochs)
    }

    /// Has a read call `f` once it has begun, before it looks at any row, so that it does not see what `f` changes: the first one
    /// after `passed` others.
    #[cfg(test)]
    pub(crate) fn amid_read(&self, passed: usize, f: impl FnOnce() + Send + 'static) {
        *lock_of(&self.inner.shared.amid) = Some((passed, Box::new(f)));
    }

    /// Whether no read has called it; none will.
    #[cfg(test)]
    pub(crate) fn take_amid(&self) -> bool {
        lock_of(&self.inner.shared.amid).take().is_some()
    }

    fn open_over(options: StoreOptions, opener: disk::Opener) -> Result<Self, StoreError> {
        opener.make_dir(&options.dir)?;
        let lock = lock::DirLock::take(&options.dir, &options.holder)?;
        let reserve = Arc::new(reserve::Reserve::of(&options, &opener));
        let opener = lend::over(opener, Arc::clone(&reserve));
        let (db, log) = reserve.lent_to(|| match E::open(&options, &opener) {
            // A sync found no room and has given the reserve up.
            Err(e) if e.kind() == StoreErrorKind::NoSpace => E::open(&options, &opener),
            done => done,
        })?;
        reserve.restore();
        let clock = stats::Clock::resume(saved_running_ms(&db.begin_read()?)?);
        let shared = Arc::new(Shared {
            options,
            opener,
            lanes: Lanes::new(),
            file: file::OpenFile::new(db),
            stats: stats::Stats::default(),
            clock,
            reserve,
            fed: tokio::sync::watch::Sender::default(),
            epochs: Arc::default(),
            #[cfg(test)]
            amid: Mutex::default(),
        });
        shared.measure();
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.write_until_closed(log))
            .map_err(|e| error::io("start the writer thread", &e))?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                running: Mutex::new(Some((thread, lock))),
            }),
        })
    }

    /// One read hop (blocking; never across an await). It sees every write that was acknowledged before it began.
    /// A closed store answers [`StoreError::Closed`]. `f` runs once more if the file failed under it and could be opened
    /// again: a commit that the disk refused must not be a reader's failure.
    pub fn read<T, F: From<StoreError>>(
        &self,
        mut f: impl FnMut(&Read<'_, E::Read>) -> Result<T, F>,
    ) -> Result<T, F> {
        match self.read_once(&mut f, 0) {
            Err((_, Some(broken))) => self.read_once(&mut f, broken + 1),
            other => other,
        }
        .map_err(|(error, _)| error)
    }

    /// One read of the file that was opened as the `since`th or later. Beside the error stands which file it was, if
    /// only opening that one again can mend it.
    fn read_once<T, F: From<StoreError>>(
        &self,
        f: &mut impl FnMut(&Read<'_, E::Read>) -> Result<T, F>,
        since: u64,
    ) -> Result<T, (F, Option<u64>)> {
        let shared = &self.inner.shared;
        let (db, opening) = shared.file.get(since).map_err(|e| (e.into(), None))?;
        let (result, broken) = match db.begin_read() {
            Ok(txn) => {
                #[cfg(test)]
                shared.amid();
                let read = Read::new(&txn, shared.clock.now_ms());
                let result = f(&read);
                let looked = read.looked() as u64;
                shared.stats.read_rows.fetch_add(looked, Relaxed);
                shared.stats.read_looks.fetch_max(looked, Relaxed);
                (result, read.is_broken())
            }
            Err(error) => {
                let broken = error.breaks_file();
                (Err(error.into()), broken)
            }
        };
        if broken && shared.file.is_at(opening) {
            shared.lanes.ask_reopen();
        }
        result.map_err(|error| (error, broken.then_some(opening)))
    }

    /// One re-runnable closure, group committed, durable when this returns Ok. `need` says what of a full disk it may have.
    /// What memory knows of the rows that it changes ends before the answer ([`epochs`]), also if nobody waits for that any more.
    /// `name` labels the slow log. `Err` or a panic drops the closure's changes and nobody else's; so does an overlooked failure of one of its verbs. A full
    /// lane is waited for 10 s. A caller that stops waiting for the answer does not stop a queued write.
    pub async fn write<T, F, C>(
        &self,
        lane: Lane,
        need: Need,
        name: &'static str,
        f: C,
    ) -> Result<T, F>
    where
        T: Send + 'static,
        F: From<StoreError> + Send + 'static,
        C: FnMut(&mut Txn<'_>) -> Result<T, F> + Send + 'static,
    {
        let (to, answer) = tokio::sync::oneshot::channel();
        let lanes = &self.inner.shared.lanes;
        lanes.place(lane).await?;
        lanes.push(lane, pending((need, name), f, Reply::Task(to)))?;
        answer.await.unwrap_or_else(|_| Err(unanswered().into()))
    }

    /// The same for callers outside the async runtime: it blocks its thread.
    pub fn write_blocking<T, F, C>(
        &self,
        lane: Lane,
        need: Need,
        name: &'static str,
        f: C,
    ) -> Result<T, F>
    where
        T: Send + 'static,
        F: From<StoreError> + Send + 'static,
        C: FnMut(&mut Txn<'_>) -> Result<T, F> + Send + 'static,
    {
        let (to, answer) = mpsc::channel();
        let lanes = &self.inner.shared.lanes;
        lanes.place_blocking(lane, PATIENCE)?;
        lanes.push(lane, pending((need, name), f, Reply::Thread(to)))?;
        answer.recv().unwrap_or_else(|_| Err(unanswered().into()))
    }

    /// Running time now, in ms.
    pub fn running_ms(&self) -> u64 {
        self.inner.shared.clock.now_ms()
    }

    /// Stops the writer after what is queued, saves the running time and closes the file; later calls answer
    /// [`StoreError::Closed`]. Idempotent; returns when everything is done.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Bytes that the reserve lacks, as they are at any time: whoever writes content to this disk leaves them free.
    pub fn owed(&self) -> Arc<AtomicU64> {
        self.inner.shared.reserve.owed()
    }

    /// Whether the disk is too full for changes that grow. Asks the file system; blocks.
    pub fn is_full(&self) -> bool {
        self.inner.shared.reserve.is_full()
    }

    /// Plain counters for metrics.
    pub fn counters(&self) -> Counters {
        let shared = &self.inner.shared;
        Counters {
            queued: shared.lanes.queued(),
            reserve_owed: shared.reserve.owed().load(Relaxed),
            ..shared.stats.snapshot()
        }
    }
}

impl<E: Engine> std::fmt::Debug for Store<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dir = &self.inner.shared.options.dir;
        f.debug_struct("Store")
            .field("dir", dir)
            .finish_non_exhaustive()
    }
}

impl<E: Engine> Inner<E> {
    fn close(&self) {
        self.shared.lanes.close();
        let mut running = lock_of(&self.running);
        let Some((thread, lock)) = running.take() else {
            return;
        };
        // A closure may hold the last handle; its own thread cannot wait for itself, and goes on to stop.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the store's writer ended by a defect");
        }
        self.shared.file.close();
        drop(lock);
    }
}

impl<E: Engine> Drop for Inner<E> {
    fn drop(&mut self) {
        self.close();
    }
}

fn pending<T, E, F>(
    (need, name): (Need, &'static str),
    closure: F,
    reply: Reply<Result<T, E>>,
) -> Box<dyn lanes::Job>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
{
    Box::new(Pending {
        need,
        name,
        cause: Cause::current(),
        closure,
        result: None,
        panicked: false,
        told: false,
        reply,
    })
}

fn unanswered() -> StoreError {
    StoreError::Unknown {
        detail: "the writer ended without an answer".into(),
        no_space: false,
    }
}

fn saved_running_ms(rows: &impl ReadRows) -> Result<u64, StoreError> {
    match rows.get(Table::Meta, table::meta::RUNNING)? {
        Some(bytes) => table::as_u64(&bytes)
            .ok_or_else(|| StoreError::Damaged("the running time is no number".into())),
        None => Ok(0),
    }
}
