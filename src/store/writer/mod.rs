//! The one writer thread: takes closures from the lanes, merges them, makes the batch durable, answers everybody.
//!
//! A batch is durable when the log has it (`log.rs`); the engine then commits it in memory alone. What the log has no room for,
//! the engine commits durably, with all that came before; so it does when nothing happens for a while, and at the end.
//!
//! What grows is merged only where the disk has room for it above the reserve (`need.rs`). Near the end of the disk each batch is
//! the engine's own commit. One that finds no room all the same is taken apart after the file was opened again: what grows is refused, the
//! rest runs once more, each closure alone and with the reserve.
//!
//! No timer: a batch is what queued up while the last one was being made durable. Nobody is answered before the
//! commit, not even a closure that was refused: it may have been refused because of an earlier one in its batch.

mod broken;
pub(super) mod lanes;
mod making;
pub(super) mod stats;

use super::disk::Opener;
use super::engine::{End, Engine, WriteRows};
use super::epochs::Epochs;
use super::file::OpenFile;
use super::log::ChangeLog;
use super::need;
use super::reserve::{Lent, Reserve};
use super::txn::{Batch, Ended};
use super::{Lane, Need, StoreError, StoreOptions, Table};
use lanes::{Job, Lanes, Wake};
use making::Making;
use stats::{Clock, Stats};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Most closures, and about most rows and bytes, of one batch: they bound the memory and the wait of the first in line.
const BATCH_CLOSURES: usize = 1024;
const BATCH_ROWS: usize = 20_000;
const BATCH_BYTES: usize = 1 << 20;
/// While requests keep coming, one batch in so many takes a background closure along: every request of a batch waits for
/// it.
const BACKGROUND_EVERY: u32 = 4;
/// What lies in the log alone goes to the engine's file when nothing was to do for so long.
const SETTLED: Duration = Duration::from_secs(10);
/// An idle store saves its running time this often, so that a crash forgets no more.
const IDLE: Duration = Duration::from_mins(10);
/// A store whose reserve was given up looks this often whether it can be set aside again.
const WITHOUT_RESERVE: Duration = Duration::from_secs(10);
/// With less room than this above the reserve nothing waits in the log: what it holds may take as much of the engine's file.
const NEAR: u64 = 32 << 20;
/// What the writer shares with the handles.
pub(super) struct Shared<E> {
    pub options: StoreOptions,
    pub opener: Opener,
    pub lanes: Lanes,
    pub file: OpenFile<E>,
    pub stats: Stats,
    pub clock: Clock,
    pub reserve: Arc<Reserve>,
    /// Told after each batch.
    pub fed: tokio::sync::watch::Sender<u64>,
    /// Raised with each batch, before anybody hears of it.
    pub epochs: Arc<Epochs>,
    #[cfg(test)]
    pub amid: std::sync::Mutex<Option<Amid>>,
}

/// What a test does in the middle of a read, after so many others.
#[cfg(test)]
type Amid = (usize, Box<dyn FnOnce() + Send>);

/// What the writer thread alone has.
struct Own {
    /// `None` while the file cannot be opened.
    log: Option<ChangeLog>,
    /// Batches in a row that left the background waiting.
    passed: u32,
    /// Memory for a batch's changes on their way to the log.
    changes: Vec<u8>,
    /// The number of the batch that was begun last.
    number: u64,
    /// Closures of a batch that found no room: each is run once more, alone.
    again: VecDeque<Box<dyn Job>>,
    /// Whether the batch is one of these.
    is_again: bool,
}

/// What a batch came to.
struct Outcome {
    rows: usize,
    ran: Duration,
    committed: Duration,
}

impl<E: Engine> Shared<E> {
    /// The life of the writer thread.
    pub fn write_until_closed(&self, log: ChangeLog) {
        let mut own = Own {
            log: Some(log),
            passed: 0,
            changes: Vec::new(),
            number: 0,
            again: VecDeque::new(),
            is_again: false,
        };
        loop {
            let settled = own.log.as_ref().is_none_or(ChangeLog::is_empty);
            let idle = match (settled, self.reserve.is_lent()) {
                (false, _) => SETTLED,
                (true, true) => WITHOUT_RESERVE,
                (true, false) => IDLE,
            };
            if !own.again.is_empty() {
                self.batch(&mut own);
                continue;
            }
            match self.lanes.wait(idle) {
                Wake::Work => self.batch(&mut own),
                Wake::Reopen => self.reopen(&mut own, || {}),
                Wake::Idle if settled && self.reserve.is_lent() => self.reserve.restore(),
                Wake::Idle => self.settle(&mut own, false),
                Wake::Stop => break,
            }
        }
        self.settle(&mut own, true);
        self.file.close();
    }

    fn batch(&self, own: &mut Own) {
        let mut jobs = Vec::new();
        self.reserve.restore();
        let done = match self.file.get_now() {
            Ok(db) => {
                // The engine is trusted not to panic, but if it does, the thread must live to answer and reopen.
                catch_unwind(AssertUnwindSafe(|| self.run(&db, &mut jobs, own))).unwrap_or_else(
                    |_| {
                        Err(StoreError::Damaged(
                            "a defect while merging; see the log".into(),
                        ))
                    },
                )
            }
            Err(error) => Err(error),
        };
        self.reserve.lend(Lent::Nothing);
        match done {
            Ok(outcome) => {
                self.note(&outcome, &jobs);
                if outcome.rows > 0 {
                    self.fed.send_modify(|batches| *batches += 1);
                }
                for job in jobs {
                    job.answer(Ok(()));
                }
            }
            Err(error) => self.fail(error, jobs, own),
        }
    }

    /// Runs what waits and commits it. Jobs that were taken from the lanes are in `jobs` whatever happens.
    fn run(
        &self,
        db: &E,
        jobs: &mut Vec<Box<dyn Job>>,
        own: &mut Own,
    ) -> Result<Outcome, StoreError> {
        let start = Instant::now();
        let log = own.log.as_mut().ok_or(StoreError::Reopening)?;
        own.number = log.next();
        let (room, spare) = self.reserve.rooms();
        // What is owed for good is taken off the room.
        let near = room < NEAR || self.reserve.is_lent();
        let log_bytes = if near { 0 } else { self.options.log_bytes };
        let memory = std::mem::take(&mut own.changes);
        let (rows, ran, end, ended) = db.write(|below| {
            let batch = Batch::new(below, self.clock.now_ms(), log_bytes, memory);
            let mut making = Making {
                batch: &batch,
                room,
                spare,
                lent: Lent::All,
            };
            let job = own.again.pop_front();
            own.is_again = job.is_some();
            if let Some(job) = job {
                self.step(&mut making, jobs, job)?;
            } else {
                self.fill(&mut making, jobs, &mut own.passed)?;
            }
            let rows = batch.rows();
            if rows == 0 {
                return Ok(((rows, start.elapsed(), End::Abort, None), End::Abort));
            }
            self.reserve.lend(making.lent);
            let ended = batch.end(log.next())?;
            let ran = start.elapsed();
            let end = secure(below, log, &ended, rows)?;
            Ok(((rows, ran, end, Some(ended)), end))
        })?;
        self.ended(log, end);
        if let Some(ended) = ended {
            // Readers see it.
            self.epochs.end_all(&ended.ends);
            own.changes = ended.changes.unwrap_or_default();
        }
        let committed = match end {
            End::Abort => Duration::ZERO,
            End::Memory | End::Durable => start.elapsed().saturating_sub(ran),
        };
        Ok(Outcome {
            rows,
            ran,
            committed,
        })
    }

    /// The engine has ended a transaction; one that is durable leaves the log nothing to hold.
    fn ended(&self, log: &mut ChangeLog, end: End) {
        if end == End::Durable {
            log.restart();
            self.stats.settled.fetch_add(1, Relaxed);
        }
    }

    /// Takes what waits in the lanes into the batch.
    fn fill(
        &self,
        making: &mut Making<'_, '_>,
        jobs: &mut Vec<Box<dyn Job>>,
        passed: &mut u32,
    ) -> Result<(), StoreError> {
        let batch = making.batch;
        while jobs.len() < BATCH_CLOSURES
            && batch.rows() < BATCH_ROWS
            && batch.bytes() < BATCH_BYTES
        {
            let Some(job) = self.lanes.pop(Lane::Request) else {
                break;
            };
            self.step(making, jobs, job)?;
        }
        *passed += 1;
        if (jobs.is_empty() || *passed >= BACKGROUND_EVERY)
            && let Some(job) = self.lanes.pop(Lane::Background)
        {
            *passed = 0;
            self.step(making, jobs, job)?;
        }
        Ok(())
    }

    fn step(
        &self,
        making: &mut Making<'_, '_>,
        jobs: &mut Vec<Box<dyn Job>>,
        mut job: Box<dyn Job>,
    ) -> Result<(), StoreError> {
        let overlay = job.run(making.batch);
        self.stats.closures.fetch_add(1, Relaxed);
        let looked = making.batch.most_looked() as u64;
        self.stats.write_looks.fetch_max(looked, Relaxed);
        self.stats
            .panics
            .fetch_add(u64::from(job.panicked()), Relaxed);
        let need = job.need();
        let needed = overlay.as_ref().map_or(0, |changes| {
            need::bytes(changes, self.stats.file_bytes.load(Relaxed))
        });
        if let Some(refusal) = making.refusal(need, needed) {
            job.refuse(refusal);
            self.stats.refused_full.fetch_add(1, Relaxed);
            jobs.push(job);
            return Ok(());
        }
        if needed > 0 {
            making.lent = making.lent.min(need.lent());
        }
        if need == Need::Grows {
            making.room -= needed;
        }
        making.spare = making.spare.saturating_sub(needed);
        jobs.push(job);
        self.reserve.lend(making.lent);
        overlay.map_or(Ok(()), |overlay| making.batch.merge(&overlay))
    }

    fn note(&self, outcome: &Outcome, jobs: &[Box<dyn Job>]) {
        if outcome.rows == 0 {
            return;
        }
        self.stats.committed(outcome.committed, jobs.len() as u64);
        self.measure();
        if outcome.ran + outcome.committed > self.options.slow {
            let mut names: Vec<_> = jobs.iter().map(|job| job.name()).collect();
            names.sort_unstable();
            names.dedup();
            tracing::warn!(
                changes = names.join(", "),
                closures = jobs.len(),
                rows = outcome.rows,
                run_ms = outcome.ran.as_millis(),
                commit_ms = outcome.committed.as_millis(),
                "slow commit"
            );
        }
    }

    /// Commits what the log alone holds, and the running time, to redb's file. At the end nothing stays in the log.
    fn settle(&self, own: &mut Own, at_end: bool) {
        let commit = || {
            let db = self.file.get_now()?;
            let log = own.log.as_mut().ok_or(StoreError::Reopening)?;
            let start = db.write(|below| {
                let batch = Batch::new(below, self.clock.now_ms(), 0, Vec::new());
                let ended = batch.end(log.next())?;
                // The log is passed over on purpose.
                below.change(Table::Meta, &ended.own)?;
                Ok((Instant::now(), End::Durable))
            })?;
            self.ended(log, End::Durable);
            self.stats.committed(start.elapsed(), 0);
            if at_end { log.clear() } else { Ok(()) }
        };
        // What was acknowledged must come to the disk.
        let settled = self.reserve.lent_to(|| {
            catch_unwind(AssertUnwindSafe(commit))
                .unwrap_or_else(|_| Err(StoreError::Damaged("a defect; see the log".into())))
        });
        self.reserve.restore();
        match settled {
            Ok(()) => self.measure(),
            Err(error) => {
                tracing::error!(%error, "the metadata file could not take over what lies in its log");
                self.lanes.ask_reopen();
            }
        }
    }

    /// Does what a test has left to be done in a read.
    #[cfg(test)]
    pub fn amid(&self) {
        let due = |(left, _): &mut (usize, _)| {
            let is_due = *left == 0;
            *left = left.saturating_sub(1);
            is_due
        };
        let amid = super::lock_of(&self.amid).take_if(due);
        if let Some((_, amid)) = amid {
            amid();
        }
    }

    /// Notes the file's length.
    pub fn measure(&self) {
        if let Ok(about) = std::fs::metadata(self.options.dir.join(super::redb::FILE)) {
            self.stats.file_bytes.store(about.len(), Relaxed);
        }
    }
}

/// Makes a batch durable in the log, or says that the engine must.
fn secure(
    below: &dyn WriteRows,
    log: &mut ChangeLog,
    ended: &Ended,
    rows: usize,
) -> Result<End, StoreError> {
    if let Some(changes) = &ended.changes
        && log.append(changes, rows)?
    {
        return Ok(End::Memory);
    }
    below.change(Table::Meta, &ended.own)?;
    Ok(End::Durable)
}
