//! Jobs: slow work that is remembered. One is queued, claimed by compare-and-swap, renewed while it runs, and ends with a
//! result, an error or a wait for what only a command can give. A process that dies leaves its claim; the next start takes
//! the work up, so each step of a job may run more than once. A schedule queues one again and again.
//!
//! Owns the rows of jobs, their logs and schedules. Must not know what a job does: `app` runs them.

mod fresh;
mod queue;
pub mod record;
mod rows;
mod schedule;
mod timetable;
mod view;

pub use schedule::{Rhythm, Schedule, ScheduleError};
pub use timetable::{NewSchedule, Tick};
pub use view::{JobLine, JobState, JobView, ScheduleView};

use crate::store::{Lane, Need, Read, Store, StoreError, StoreErrorKind, Txn};
use crate::types::{JobId, Remedy, ScheduleId};
use std::time::Duration;

/// How long a claim holds without being renewed.
pub const LEASE: Duration = Duration::from_mins(1);
/// How often who runs a job should renew its claim.
pub const BEAT: Duration = Duration::from_secs(2);
/// Times that a job is begun before its failure counts for good.
pub const ATTEMPTS: u32 = 6;

/// A refused or failed operation on jobs.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// No such job.
    #[error("there is no job {0}")]
    Unknown(JobId),
    /// Its state forbids it.
    #[error("job {id} is {state}: {why}")]
    State {
        /// The job.
        id: JobId,
        /// What it is.
        state: JobState,
        /// What is to be done instead.
        why: &'static str,
    },
    /// Too many wait.
    #[error("{0} jobs wait already, the most that are kept; cancel some first")]
    Many(usize),
    /// No such schedule.
    #[error("there is no schedule {0}")]
    UnknownSchedule(ScheduleId),
    /// A schedule whose jobs would need a command.
    #[error(
        "the jobs of a schedule run without their command, so they may need nothing that only a command can give: credentials or a certificate are not kept"
    )]
    Alone,
    /// The rule of a schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Too many schedules.
    #[error("there are {0} schedules, the most that are kept; remove one first")]
    ManySchedules(usize),
    /// The input is longer than a row.
    #[error("this job's input has {0} bytes, more than are kept")]
    Long(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A background task of this process ended early.
    #[error("an internal task failed: {0}")]
    Task(String),
}

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobErrorKind {
    /// The job is not there.
    Unknown,
    /// The request itself is wrong.
    Usage,
    /// The state of things forbids it.
    State,
    /// The store's own.
    Store(StoreErrorKind),
    /// A defect.
    Internal,
}

impl JobError {
    /// The kind.
    pub fn kind(&self) -> JobErrorKind {
        match self {
            Self::Unknown(_) | Self::UnknownSchedule(_) => JobErrorKind::Unknown,
            Self::Schedule(_) | Self::Alone => JobErrorKind::Usage,
            Self::State { .. } | Self::Many(_) | Self::ManySchedules(_) | Self::Long(_) => {
                JobErrorKind::State
            }
            Self::Store(error) => JobErrorKind::Store(error.kind()),
            Self::Task(_) => JobErrorKind::Internal,
        }
    }
}

/// A job to be made.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The word of who runs it.
    pub kind: String,
    /// What it does, for people.
    pub what: String,
    /// Its input, as JSON, without what only a command can give.
    pub spec: String,
    /// It needs more than that.
    pub needs: bool,
    /// Who asks.
    pub who: String,
}

/// A job that this process has claimed.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The job.
    pub id: JobId,
    /// The word of who runs it.
    pub kind: String,
    /// Its input, as JSON.
    pub spec: String,
    /// Who asked for it.
    pub who: String,
    /// How often it was begun, with this time.
    pub attempts: u32,
}

/// How a job that was begun ends for now.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Done; the result as JSON.
    Done(String),
    /// It failed; `again`: another try may help, if there are any left.
    Failed {
        /// Why, for people.
        error: String,
        /// What can be done about it.
        remedy: Option<Remedy>,
        /// Whether to try again, later.
        again: bool,
    },
    /// Somebody wanted it to end.
    Cancelled,
    /// It needs what only a command can give.
    Waits(String),
}

/// The jobs; cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    store: Store,
    /// The number of this process.
    claim: u64,
}

impl Jobs {
    /// The jobs of a store.
    pub fn open(store: Store) -> Result<Self, JobError> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|e| JobError::Task(e.to_string()))?;
        let claim = u64::from_be_bytes(number);
        Ok(Self { store, claim })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnMut(&Read<'_>) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, JobError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || store.read(read)).await;
        done.map_err(|e| JobError::Task(e.to_string()))?
    }

    async fn write<T: Send + 'static>(
        &self,
        need: Need,
        name: &'static str,
        change: impl FnMut(&mut Txn<'_>) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, JobError> {
        self.store.write(Lane::Request, need, name, change).await
    }
}
