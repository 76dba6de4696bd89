//! Shows as jobs what the server does by itself, where it takes long: the sweeps of the timer and the scrub.
//!
//! Owns only how they are seen. Their own rows say how far they are and what is left to do; a job that cannot be written
//! hinders none of them.

use super::Runner;
use crate::gc::check::Checker;
use crate::gc::{Alone, Collector};
use crate::jobs::{BEAT, JobError, JobState, NewJob, Outcome};
use crate::types::JobId;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What takes longer is a job.
const LONG: Duration = Duration::from_secs(3);
/// How often it is looked at until then.
const LOOK: Duration = Duration::from_secs(1);

const SWEEP: &str = "sweep";
const SCRUB: &str = "scrub";
/// The kinds of jobs that are no work of the queue's.
pub(in crate::app) const KINDS: &[&str] = &[SWEEP, SCRUB];
/// The input of such jobs: there is none.
const SPEC: &str = "{}";

/// Something that the server does by itself.
struct Watched<F> {
    kind: &'static str,
    what: &'static str,
    /// Whether it is done at all, by the settings.
    is_on: bool,
    /// What it is doing.
    look: F,
    /// Ends what it is doing now.
    skip: Box<dyn Fn() + Send + Sync>,
}

impl Runner {
    /// Shows the sweeps of the timer until `stop`.
    pub async fn show_sweeps(self, collector: Collector, stop: CancellationToken) {
        let skips = collector.clone();
        let watched = Watched {
            kind: SWEEP,
            what: "removes what nothing needs",
            is_on: collector.sweeps_by_itself(),
            look: move || collector.alone(),
            skip: Box::new(move || skips.skip()),
        };
        self.show(watched, stop).await;
    }

    /// Shows the scrub until `stop`.
    pub async fn show_scrub(self, checker: Checker, stop: CancellationToken) {
        let skips = checker.clone();
        let watched = Watched {
            kind: SCRUB,
            what: "reads every blob",
            is_on: checker.scrubs_by_itself(),
            look: move || checker.alone(),
            skip: Box::new(move || skips.skip()),
        };
        self.show(watched, stop).await;
    }

    async fn show<P: Serialize>(
        &self,
        watched: Watched<impl Fn() -> Option<Alone<P>>>,
        stop: CancellationToken,
    ) {
        // A process before this one had begun it.
        let mut left = match self.left(watched.kind).await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "the jobs cannot be read");
                None
            }
        };
        if !watched.is_on {
            if let Some(id) = left {
                self.give_up(id).await;
            }
            return;
        }
        let (mut seen, mut since) = (None, Instant::now());
        let mut over = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Some(now) = (watched.look)().filter(|now| over != Some(now.number)) else {
                continue;
            };
            if seen != Some(now.number) {
                (seen, since) = (Some(now.number), Instant::now());
            }
            if left.is_none() && (now.ended.is_some() || since.elapsed() < LONG) {
                continue;
            }
            over = Some(now.number);
            match self.begin(&watched, left.take()).await {
                Ok(id) => self.follow(id, now.number, &watched, &stop).await,
                Err(error) => {
                    tracing::warn!(kind = watched.kind, %error, "this work is done without a job that shows it");
                }
            }
        }
    }

    /// The job of this kind that a process before this one had begun.
    async fn left(&self, kind: &str) -> Result<Option<JobId>, JobError> {
        let found = self.jobs().await?.same(kind, SPEC).await?;
        Ok(found
            .filter(|job| job.state == JobState::Queued)
            .map(|job| job.id))
    }

    async fn give_up(&self, id: JobId) {
        if let Err(error) = self.0.jobs.cancel(id).await {
            tracing::warn!(job = %id, %error, "a job that is not done any more cannot be ended");
        }
    }

    async fn begin<F>(&self, watched: &Watched<F>, left: Option<JobId>) -> Result<JobId, JobError> {
        let jobs = self.jobs().await?;
        if let Some(id) = left {
            return match jobs.take(id).await {
                Ok(claimed) => Ok(claimed.id),
                // Somebody cancelled it meanwhile.
                Err(JobError::State { .. } | JobError::Unknown(_)) => self.make(watched).await,
                Err(error) => Err(error),
            };
        }
        self.make(watched).await
    }

    async fn make<F>(&self, watched: &Watched<F>) -> Result<JobId, JobError> {
        let new = NewJob {
            kind: watched.kind.into(),
            what: watched.what.into(),
            spec: SPEC.into(),
            needs: false,
            who: "dryport".into(),
        };
        self.jobs().await?.make(new, true).await
    }

    /// Keeps a job until the work has ended; the work of a server that stops goes on in the next one, and so does the job.
    async fn follow<P: Serialize>(
        &self,
        id: JobId,
        number: u64,
        watched: &Watched<impl Fn() -> Option<Alone<P>>>,
        stop: &CancellationToken,
    ) {
        let mut skipped = false;
        let mut last = String::new();
        loop {
            let outcome = match (watched.look)() {
                Some(now) if now.number == number => {
                    last = serde_json::to_string(&now.far).unwrap_or_default();
                    match now.ended {
                        None => None,
                        Some(Err(error)) => Some(Outcome::Failed {
                            error,
                            remedy: None,
                            again: false,
                        }),
                        Some(Ok(())) => Some(Outcome::Done(last.clone())),
                    }
                }
                _ => Some(Outcome::Done(last.clone())),
            };
            match self.0.jobs.beat(id, last.clone(), Vec::new()).await {
                Ok(true) if !skipped => {
                    skipped = true;
                    (watched.skip)();
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(job = %id, %error, "the state of a job cannot be written");
                }
            }
            if let Some(outcome) = outcome {
                let outcome = if skipped { Outcome::Cancelled } else { outcome };
                if let Err(error) = self.0.jobs.end(id, outcome).await {
                    tracing::warn!(job = %id, %error, "how a job ended cannot be written");
                }
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    }
}
