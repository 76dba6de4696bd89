//! What jobs do: the input of each kind, what of it is kept in the job's row, and how the work is done.

use crate::app::App;
use crate::app::ops::{self, Fault, FaultKind, MirrorJob, News, Progress};
use crate::gc::Report;
use crate::gc::check::{CheckReport, CheckRequest};
use crate::mirror::MirrorReport;
use crate::repo::Deleted;
use crate::types::JobId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Said where rows of a deleted repository wait.
const UNREAD: &str =
    "some of its rows cannot be read now; the collector goes on with them by itself";

/// One whole sweep that somebody asked for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::app) struct GcTask {
    /// The history keeps nothing this time.
    pub purge_history: bool,
}

/// What a deleted repository left to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::app) struct DeleteTask {
    /// The name that it had.
    pub name: String,
    #[serde(flatten)]
    pub deleted: Deleted,
}

/// The work of one job.
#[derive(Debug, Clone)]
pub(in crate::app) enum Task {
    /// Copies an image.
    Mirror(Box<MirrorJob>),
    /// Sweeps.
    Gc(GcTask),
    /// Drops the rows of a deleted repository.
    Delete(DeleteTask),
    /// Reads every byte.
    Check(CheckRequest),
}

impl Task {
    /// The words of the kinds.
    pub const MIRROR: &'static str = "mirror";
    const GC: &'static str = "gc";
    pub const DELETE: &'static str = "delete";
    const CHECK: &'static str = "check";

    /// The word of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Mirror(_) => Self::MIRROR,
            Self::Gc(_) => Self::GC,
            Self::Delete(_) => Self::DELETE,
            Self::Check(_) => Self::CHECK,
        }
    }

    /// What it does, for people.
    pub fn what(&self) -> String {
        match self {
            Self::Mirror(job) => job.what(),
            Self::Gc(GcTask {
                purge_history: true,
            }) => "removes what nothing needs, and all history".into(),
            Self::Gc(_) => "removes what nothing needs".into(),
            Self::Delete(task) => format!("drops the rows of {}, which was deleted", task.name),
            Self::Check(check) if check.repair => "reads every blob, and repairs".into(),
            Self::Check(_) => "reads every blob".into(),
        }
    }

    /// What of it is kept: its input as JSON, without credentials and certificates, and whether it needs its command to go on
    /// after this process: for those, or because it is for the command to say that once more.
    pub fn kept(&self) -> Result<(String, bool), Fault> {
        let kept = match self {
            Self::Mirror(job) => serde_json::to_string(&MirrorJob {
                login: None,
                ca_pem: None,
                detach: false,
                ..(**job).clone()
            }),
            Self::Gc(task) => serde_json::to_string(task),
            Self::Delete(task) => serde_json::to_string(task),
            Self::Check(request) => serde_json::to_string(request),
        };
        let needs = match self {
            Self::Mirror(job) => job.login.is_some() || job.ca_pem.is_some(),
            // What is removed later than it was said is not forgotten.
            Self::Gc(task) => task.purge_history,
            Self::Delete(_) => false,
            // Its report is for its caller.
            Self::Check(_) => true,
        };
        let spec = kept.map_err(|e| Fault::new(FaultKind::Failed, e.to_string()))?;
        Ok((spec, needs))
    }

    /// The work of a job's row.
    ///
    /// # Errors
    /// Why it cannot be done, for people.
    pub fn of(kind: &str, spec: &str) -> Result<Self, String> {
        let read = match kind {
            Self::MIRROR => serde_json::from_str(spec).map(|job| Self::Mirror(Box::new(job))),
            Self::GC => serde_json::from_str(spec).map(Self::Gc),
            Self::DELETE => serde_json::from_str(spec).map(Self::Delete),
            Self::CHECK => serde_json::from_str(spec).map(Self::Check),
            _ => return Err(format!("this version runs no jobs of kind {kind}")),
        };
        read.map_err(|e| format!("its input cannot be read: {e}"))
    }

    /// The same, while nobody waits for it.
    pub fn detached(self) -> Self {
        match self {
            Self::Mirror(job) => Self::Mirror(Box::new(MirrorJob {
                detach: true,
                ..*job
            })),
            other => other,
        }
    }

    /// Whether another try comes later where it fails, since nobody waits for the answer.
    pub fn is_tried_again(&self) -> bool {
        match self {
            Self::Mirror(job) => job.detach,
            Self::Delete(_) => true,
            Self::Gc(_) | Self::Check(_) => false,
        }
    }

    /// Whether who asks for the same work hears the job that does it already.
    pub fn is_joined(&self) -> bool {
        // A sweep that has begun saw nothing of what was let go since.
        matches!(self, Self::Mirror(_))
    }

    /// Whether it is for its caller alone, and ends when that one goes away.
    pub fn ends_with_its_caller(&self) -> bool {
        matches!(self, Self::Check(_))
    }

    /// Does the work as this job (0: without one); `stop` ends it early.
    pub async fn run(
        self,
        app: &App,
        id: JobId,
        news: News,
        stop: CancellationToken,
    ) -> Result<Came, Fault> {
        match self {
            Self::Mirror(job) => {
                let done = ops::run_mirror(app, (id, *job), news, stop).await;
                done.map(Came::Mirrored)
            }
            Self::Gc(task) => {
                let hears = Arc::new(move |report: &Report| {
                    news(Progress::Sweep(report.rows));
                });
                let sweep = app.collector.sweep_told(task.purge_history, hears);
                let swept = until(&stop, sweep).await?;
                Ok(Came::Swept(swept?))
            }
            Self::Delete(task) => {
                let hears = move |rows| news(Progress::Sweep(rows));
                let drop = app.collector.drop_deleted(task.deleted, hears);
                match until(&stop, drop).await?? {
                    Some(_) => Ok(Came::Done),
                    None => Err(Fault::new(FaultKind::Failed, UNREAD)),
                }
            }
            Self::Check(request) => {
                let hears = move |now| news(Progress::Check(now));
                let report = app.checker.check(request, hears, stop).await?;
                Ok(Came::Checked(Box::new(report)))
            }
        }
    }
}

/// Work that can be left at any point.
async fn until<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::select! {
        done = work => Ok(done),
        () = stop.cancelled() => Err(Fault::new(FaultKind::Failed, "stopped")),
    }
}

/// Whether the work was left before its end.
pub(super) fn is_cut_short(done: &Result<Came, Fault>) -> bool {
    match done {
        Err(_) => true,
        Ok(Came::Checked(report)) => report.interrupted,
        Ok(_) => false,
    }
}

/// What a job came to.
#[derive(Debug, Clone)]
pub(in crate::app) enum Came {
    /// Nothing more to say.
    Done,
    /// The image is there.
    Mirrored(MirrorReport),
    /// What the sweep did.
    Swept(Report),
    /// What the check found.
    Checked(Box<CheckReport>),
}

impl Came {
    /// Of a copy.
    pub fn mirrored(self) -> Result<MirrorReport, Fault> {
        match self {
            Self::Mirrored(report) => Ok(report),
            other => Err(other.strange()),
        }
    }

    /// Of a sweep.
    pub fn swept(self) -> Result<Report, Fault> {
        match self {
            Self::Swept(report) => Ok(report),
            other => Err(other.strange()),
        }
    }

    /// Of a check.
    pub fn checked(self) -> Result<CheckReport, Fault> {
        match self {
            Self::Checked(report) => Ok(*report),
            other => Err(other.strange()),
        }
    }

    fn strange(&self) -> Fault {
        Fault::failed(format!("a job of another kind answered: {self:?}"))
    }

    /// As the job's row keeps it.
    pub fn json(&self) -> String {
        let json = match self {
            Self::Mirrored(report) => serde_json::to_string(report),
            Self::Swept(report) => serde_json::to_string(report),
            // The problems themselves are for who asked: they may be thousands.
            Self::Checked(report) => serde_json::to_string(&CheckReport {
                problems: Vec::new(),
                ..(**report).clone()
            }),
            Self::Done => Ok("{}".into()),
        };
        json.unwrap_or_default()
    }
}
