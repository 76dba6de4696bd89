//! The two bounded lanes in which closures wait for the writer.
//!
//! Requests go first; a batch takes one background closure at most, and few batches do while requests come. A full lane keeps its callers waiting up to
//! [`PATIENCE`], then they are refused. Nothing here touches redb.

use crate::store::cause::Cause;
use crate::store::txn::{Batch, Overlay, Txn};
use crate::store::{Get as _, Lane, Need, StoreError, lock_of};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

/// How long a caller waits for room in its lane.
pub(in crate::store) const PATIENCE: Duration = Duration::from_secs(10);
/// Places in the lane of requests, and in that of background work.
const PLACES: [usize; 2] = [1024, 64];

/// A closure that waits, runs and is answered, its types forgotten.
pub(in crate::store) trait Job: Send {
    /// The label for logs.
    fn name(&self) -> &'static str;
    /// What it may have of a full disk.
    fn need(&self) -> Need;
    /// Runs the closure; `Some` holds the changes to merge, `None` means that it refused, failed or panicked.
    fn run(&mut self, batch: &Batch<'_>) -> Option<Overlay>;
    /// Has it answer this, whatever its closure said: nothing of it was merged.
    fn refuse(&mut self, error: StoreError);
    /// Whether the closure panicked.
    fn panicked(&self) -> bool;
    /// Answers the caller: with the closure's result, or with the failure of the batch.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// Where an answer goes.
pub(in crate::store) enum Reply<R> {
    /// To a task.
    Task(oneshot::Sender<R>),
    /// To a blocked thread.
    Thread(mpsc::Sender<R>),
}

impl<R> Reply<R> {
    fn send(self, answer: R) {
        // A caller that went away does not want its answer any more; its change stands.
        match self {
            Self::Task(to) => drop(to.send(answer)),
            Self::Thread(to) => drop(to.send(answer)),
        }
    }
}

/// The one implementation of [`Job`].
pub(in crate::store) struct Pending<T, E, F> {
    pub need: Need,
    pub name: &'static str,
    pub cause: Option<Arc<Cause>>,
    pub closure: F,
    pub result: Option<Result<T, E>>,
    pub panicked: bool,
    /// The feed's rows of its changes carry the words of `cause`.
    pub told: bool,
    pub reply: Reply<Result<T, E>>,
}

impl<T, E, F> Job for Pending<T, E, F>
where
    T: Send,
    E: From<StoreError> + Send,
    F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn need(&self) -> Need {
        self.need
    }

    fn run(&mut self, batch: &Batch<'_>) -> Option<Overlay> {
        let mut txn = Txn::new(batch, self.need, self.cause.as_deref());
        let ran = catch_unwind(AssertUnwindSafe(|| (self.closure)(&mut txn)));
        batch.note_looks(txn.looked());
        self.told = txn.has_told();
        let Ok(result) = ran else {
            tracing::error!(change = self.name, "a change panicked and was dropped");
            self.panicked = true;
            self.result = Some(Err(StoreError::Panicked(self.name).into()));
            return None;
        };
        let (result, overlay) = match result {
            Err(e) => (Err(e), None),
            Ok(value) => match txn.finish() {
                Ok(overlay) => (Ok(value), Some(overlay)),
                Err(overlooked) => (Err(overlooked.into()), None),
            },
        };
        self.result = Some(result);
        overlay
    }

    fn refuse(&mut self, error: StoreError) {
        self.result = Some(Err(error.into()));
    }

    fn panicked(&self) -> bool {
        self.panicked
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let answer = match (outcome, self.result) {
            (Ok(()), Some(result)) => {
                if let Some(cause) = self.cause.filter(|_| self.told && result.is_ok()) {
                    cause.set_told();
                }
                result
            }
            (Ok(()), None) => Err(StoreError::Reopening.into()),
            (Err(e), _) => Err(e.into()),
        };
        self.reply.send(answer);
    }
}

/// Why the writer woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Wake {
    /// Closures wait.
    Work,
    /// Somebody found the file broken.
    Reopen,
    /// Nothing happened for the given time.
    Idle,
    /// Closed, and nothing waits any more.
    Stop,
}

#[derive(Default)]
struct Queues {
    lanes: [VecDeque<Box<dyn Job>>; 2],
    closed: bool,
    /// The file could not be opened again: nobody may queue up, and this is why.
    down: Option<StoreError>,
    reopen: bool,
}

pub(in crate::store) struct Lanes {
    queues: Mutex<Queues>,
    /// The writer waits here.
    work: Condvar,
    /// Blocked threads wait here for a place.
    place: Condvar,
    places: [Semaphore; 2],
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Request => 0,
        Lane::Background => 1,
    }
}

impl Lanes {
    /// Empty and open.
    pub fn new() -> Self {
        Self {
            queues: Mutex::default(),
            work: Condvar::new(),
            place: Condvar::new(),
            places: PLACES.map(Semaphore::new),
        }
    }

    /// Waits for a place in the lane, as a task.
    pub async fn place(&self, lane: Lane) -> Result<(), StoreError> {
        let places = &self.places[index(lane)];
        let permit = match places.try_acquire() {
            Err(TryAcquireError::NoPermits) => tokio::time::timeout(PATIENCE, places.acquire())
                .await
                .map_err(|_| StoreError::Busy)?
                .map_err(|_| StoreError::Closed)?,
            other => other.map_err(|_| StoreError::Closed)?,
        };
        permit.forget();
        Ok(())
    }

    /// Waits for a place in the lane, as a thread.
    pub fn place_blocking(&self, lane: Lane, patience: Duration) -> Result<(), StoreError> {
        let places = &self.places[index(lane)];
        let end = Instant::now() + patience;
        let mut queues = lock_of(&self.queues);
        loop {
            match places.try_acquire() {
                Ok(permit) => {
                    permit.forget();
                    return Ok(());
                }
                Err(TryAcquireError::Closed) => return Err(StoreError::Closed),
                Err(TryAcquireError::NoPermits) => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::Busy);
            }
            queues = wait(&self.place, queues, left);
        }
    }

    /// Queues a closure whose caller has a place.
    pub fn push(&self, lane: Lane, job: Box<dyn Job>) -> Result<(), StoreError> {
        let mut queues = lock_of(&self.queues);
        let refused = queues.closed.then_some(StoreError::Closed);
        if let Some(error) = refused.or_else(|| queues.down.clone()) {
            self.free(lane, 1);
            return Err(error);
        }
        queues.lanes[index(lane)].push_back(job);
        self.work.notify_one();
        Ok(())
    }

    /// The next closure of one lane.
    pub fn pop(&self, lane: Lane) -> Option<Box<dyn Job>> {
        // The place is freed under the lock, or a thread about to wait for it would miss the call.
        let mut queues = lock_of(&self.queues);
        let job = queues.lanes[index(lane)].pop_front()?;
        self.free(lane, 1);
        Some(job)
    }

    /// Waits until there is something for the writer to do.
    pub fn wait(&self, idle: Duration) -> Wake {
        let end = Instant::now() + idle;
        let mut queues = lock_of(&self.queues);
        loop {
            if std::mem::take(&mut queues.reopen) {
                return Wake::Reopen;
            }
            if queues.lanes.iter().any(|lane| !lane.is_empty()) {
                return Wake::Work;
            }
            if queues.closed {
                return Wake::Stop;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wake::Idle;
            }
            queues = wait(&self.work, queues, left);
        }
    }

    /// Asks the writer to open the file again.
    pub fn ask_reopen(&self) {
        lock_of(&self.queues).reopen = true;
        self.work.notify_one();
    }

    /// Lets nobody queue up while the file cannot be opened, and answers those who did; or lets them in again.
    pub fn set_down(&self, down: Option<StoreError>) {
        let mut waiting = Vec::new();
        {
            let mut queues = lock_of(&self.queues);
            queues.down.clone_from(&down);
            // A wish from before the reopening is fulfilled by it.
            queues.reopen = false;
            if down.is_some() {
                for lane in [Lane::Request, Lane::Background] {
                    let jobs = &mut queues.lanes[index(lane)];
                    self.free(lane, jobs.len());
                    waiting.extend(jobs.drain(..));
                }
            }
        }
        let why = down.unwrap_or(StoreError::Reopening);
        for job in waiting {
            job.answer(Err(why.clone()));
        }
    }

    /// Sleeps, but not past the closing. Says whether the lanes are closed.
    pub fn sleep_unless_closed(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut queues = lock_of(&self.queues);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if queues.closed || left.is_zero() {
                return queues.closed;
            }
            queues = wait(&self.work, queues, left);
        }
    }

    /// Lets nobody in any more; what waits is still run.
    pub fn close(&self) {
        lock_of(&self.queues).closed = true;
        self.places.iter().for_each(Semaphore::close);
        self.work.notify_all();
        self.place.notify_all();
    }

    /// Closures waiting in both lanes.
    pub fn queued(&self) -> u64 {
        let queues = lock_of(&self.queues);
        queues.lanes.iter().map(|lane| lane.len() as u64).sum()
    }

    fn free(&self, lane: Lane, places: usize) {
        self.places[index(lane)].add_permits(places);
        self.place.notify_all();
    }
}

fn wait<'m, T>(on: &Condvar, guard: MutexGuard<'m, T>, time: Duration) -> MutexGuard<'m, T> {
    on.wait_timeout(guard, time)
        .unwrap_or_else(PoisonError::into_inner)
        .0
}
