//! Runs jobs: hands each to what does its work, keeps its claim, tells its row how far it is, and lets callers listen.
//!
//! Owns what a running job has in memory: its stop, its listeners, and what only its command could give. Must not know how the
//! work is done.

mod task;
mod timer;
mod watched;

pub(super) use task::{Came, DeleteTask, GcTask, Task};
pub(super) use watched::KINDS as WATCHED;

use super::App;
use super::heard::{Heard, Live};
use super::ops::{self, Fault, FaultKind, Progress};
use super::tally::Tally;
use crate::audit::{AuditOutcome, Ended};
use crate::jobs::{BEAT, Claimed, JobError, JobState, Jobs, NewJob, Outcome};
use crate::types::JobId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Jobs of the queue that run at once; those that a command waits for run beside them.
const AT_ONCE: usize = 2;
/// How often the queue is looked at when nobody says that there is something in it.
const LOOK: Duration = Duration::from_secs(5);
/// News that a slow listener may be behind by.
const NEWS: usize = 1024;
/// How long running jobs may take to save what they have when the server stops.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs jobs; cheap to clone.
#[derive(Clone)]
pub(super) struct Runner(Arc<Inner>);

struct Inner {
    jobs: Jobs,
    live: Mutex<HashMap<JobId, Live>>,
    /// What commands gave, for another try in this process.
    given: Mutex<HashMap<JobId, Task>>,
    wake: Notify,
    /// A schedule was made.
    planned: Notify,
    tasks: TaskTracker,
    /// A server runs, and jobs go on without their callers.
    serves: AtomicBool,
    /// What a process before this one had begun was looked at.
    recovered: OnceCell<()>,
}

/// How a job ended that failed.
fn failed(id: JobId, fault: &Fault) -> Ended {
    Ended {
        resource: format!("job:{id}"),
        outcome: AuditOutcome::Error,
        status: 0,
        error: ops::without_login(&fault.message),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    pub fn new(jobs: Jobs) -> Self {
        Self(Arc::new(Inner {
            jobs,
            live: Mutex::default(),
            given: Mutex::default(),
            wake: Notify::new(),
            planned: Notify::new(),
            tasks: TaskTracker::new(),
            serves: AtomicBool::new(false),
            recovered: OnceCell::new(),
        }))
    }

    /// The jobs, once those that a process before this one had begun were queued again. Nobody else has them: the data
    /// directory is locked.
    pub async fn jobs(&self) -> Result<&Jobs, JobError> {
        let recover = async || {
            let left = self.0.jobs.recover().await?;
            if left > 0 {
                tracing::info!(
                    jobs = left,
                    "jobs that had begun go on, or wait for their command"
                );
            }
            Ok::<_, JobError>(())
        };
        self.0.recovered.get_or_try_init(recover).await?;
        Ok(&self.0.jobs)
    }

    /// Whether jobs go on when their callers go away.
    pub fn serves(&self) -> bool {
        self.0.serves.load(Ordering::Acquire)
    }

    /// Starts some work, or takes up the job that waits for just this command, or joins the one that does it already.
    pub async fn start(&self, app: &App, task: Task, who: &str) -> Result<Heard, Fault> {
        let (spec, needs) = task.kept()?;
        let (kind, jobs) = (task.kind(), self.jobs().await?);
        if let Some(found) = jobs.same(kind, &spec).await? {
            if let Some(heard) = self.hear(found.id).filter(|_| task.is_joined()) {
                return Ok(heard);
            }
            if matches!(found.state, JobState::Waiting | JobState::Queued) {
                let claimed = jobs.take(found.id).await?;
                return Ok(self.run(app, claimed, task));
            }
        }
        let new = NewJob {
            kind: kind.into(),
            what: task.what(),
            spec: spec.clone(),
            needs,
            who: who.to_owned(),
        };
        let id = jobs.make(new, true).await?;
        let claimed = Claimed {
            id,
            kind: kind.into(),
            spec,
            who: who.to_owned(),
            attempts: 1,
        };
        Ok(self.run(app, claimed, task))
    }

    /// Leaves some work to the queue.
    pub async fn queue(&self, task: &Task, who: &str) -> Result<JobId, Fault> {
        let (spec, needs) = task.kept()?;
        let new = NewJob {
            kind: task.kind().into(),
            what: task.what(),
            spec,
            needs,
            who: who.to_owned(),
        };
        let id = self.jobs().await?.make(new, false).await?;
        self.wake();
        Ok(id)
    }

    /// Listens to a job that runs in this process.
    fn hear(&self, id: JobId) -> Option<Heard> {
        let live = lock(&self.0.live).get(&id).cloned()?;
        let news = live.news.subscribe();
        let joined = true;
        Some(Heard {
            id,
            joined,
            live,
            news,
        })
    }

    /// Has a job end that somebody cancelled.
    pub fn stop(&self, id: JobId) {
        if let Some(live) = lock(&self.0.live).get(&id) {
            live.stop.cancel();
        }
        lock(&self.0.given).remove(&id);
    }

    /// There may be something in the queue.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Runs a claimed job in a task of its own.
    fn run(&self, app: &App, claimed: Claimed, task: Task) -> Heard {
        let (end, ended) = watch::channel(None);
        let (news, heard) = broadcast::channel(NEWS);
        let live = Live {
            stop: CancellationToken::new(),
            leaves: Arc::default(),
            ends_with_its_caller: task.ends_with_its_caller(),
            news,
            end: ended,
        };
        let id = claimed.id;
        lock(&self.0.live).insert(id, live.clone());
        lock(&self.0.given).insert(id, task.clone());
        let (runner, app, running) = (self.clone(), app.clone(), live.clone());
        self.0.tasks.spawn(async move {
            let done = runner.work(&app, &claimed, task, &running).await;
            lock(&runner.0.live).remove(&id);
            let _ = end.send(Some(done));
        });
        Heard {
            id,
            joined: false,
            live,
            news: heard,
        }
    }

    /// Does the work, and ends the job as that came out.
    async fn work(
        &self,
        app: &App,
        claimed: &Claimed,
        task: Task,
        live: &Live,
    ) -> Result<Came, Fault> {
        let id = claimed.id;
        let detached = task.is_tried_again() || claimed.attempts > 1;
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (sender, counts) = (live.news.clone(), Arc::clone(&tally));
        let news = move |now: Progress| {
            lock(&counts).hear(&now);
            // Nobody may listen.
            let _ = sender.send(now);
        };
        let beats = self.beats(id, Arc::clone(&tally), live.stop.clone());
        let act = app.act_of(claimed).await;
        let work = task.run(app, id, Arc::new(news), live.stop.clone());
        let work = act.cause().of(work);
        let done = tokio::select! {
            done = work => done,
            never = beats => match never {},
        };
        let cut_short = task::is_cut_short(&done);
        if let Err(fault) = &done
            && !live.stop.is_cancelled()
        {
            app.audit.note(&act, &failed(id, fault));
        }
        if live.leaves.load(Ordering::Acquire) && cut_short {
            // The next start finds it begun, and goes on.
            return done;
        }
        let outcome = match &done {
            _ if cut_short && live.stop.is_cancelled() => Outcome::Cancelled,
            Ok(came) => Outcome::Done(came.json()),
            Err(fault) => Outcome::Failed {
                error: fault.message.clone(),
                remedy: fault.remedy.clone(),
                again: detached && fault.kind == FaultKind::Failed,
            },
        };
        let happened = lock(&tally).take_lines();
        let said = self.0.jobs.beat(id, lock_json(&tally), happened).await;
        let ended = match said {
            Ok(_) => self.0.jobs.end(id, outcome).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(true) => {
                lock(&self.0.given).remove(&id);
            }
            Ok(false) => self.wake(),
            Err(error) => {
                tracing::error!(job = %id, %error, "how a job ended cannot be written; it is taken up again later");
            }
        }
        done
    }

    /// Renews the claim until the work is done.
    async fn beats(
        &self,
        id: JobId,
        tally: Arc<Mutex<Tally>>,
        stop: CancellationToken,
    ) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(BEAT).await;
            let happened = lock(&tally).take_lines();
            match self.0.jobs.beat(id, lock_json(&tally), happened).await {
                Ok(true) => stop.cancel(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(job = %id, %error, "the state of a job cannot be written");
                }
            }
        }
    }

    /// Runs what is queued until `stop`; then running jobs save what they have.
    pub async fn keep(self, app: App, stop: CancellationToken) {
        self.0.serves.store(true, Ordering::Release);
        let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { break };
            let next = async { self.jobs().await?.next(WATCHED).await };
            match next.await {
                Ok(Some(claimed)) => {
                    let runner = (self.clone(), app.clone());
                    tokio::spawn(async move {
                        let (runner, app) = runner;
                        runner.queued(&app, claimed).await;
                        drop(place);
                    });
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the queue of jobs cannot be read"),
            }
            drop(place);
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        for live in lock(&self.0.live).values() {
            live.leaves.store(true, Ordering::Release);
            live.stop.cancel();
        }
        self.0.tasks.close();
        if tokio::time::timeout(DRAIN, self.0.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("a job is cut off; it is taken up again at the next start");
        }
    }

    /// Runs a job of the queue to its end.
    async fn queued(&self, app: &App, claimed: Claimed) {
        let id = claimed.id;
        let given = lock(&self.0.given).get(&id).cloned();
        let task = match given {
            Some(task) => Ok(task),
            None => Task::of(&claimed.kind, &claimed.spec),
        };
        let outcome = match task {
            Err(why) => Outcome::Waits(why),
            Ok(task) => {
                let mut heard = self.run(app, claimed, task.detached());
                // What came of it stands in its row.
                let _ = heard.live.end.wait_for(Option::is_some).await;
                return;
            }
        };
        if let Err(error) = self.0.jobs.end(id, outcome).await {
            tracing::error!(job = %id, %error, "a job that cannot run is still claimed");
        }
    }
}

fn lock_json(tally: &Mutex<Tally>) -> String {
    lock(tally).json()
}
