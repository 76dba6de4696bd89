//! Jobs, as the control API sees them.

use super::{Fault, FaultKind, JobBegun, MirrorJob, News, Progress, Reply, Request};
use crate::app::App;
use crate::jobs::{JobError, JobErrorKind};
use tokio_util::sync::CancellationToken;

/// Runs a mirror job, and hears it out unless it is detached.
pub(super) async fn mirror(
    app: &App,
    job: MirrorJob,
    who: &str,
    news: News,
    gone: CancellationToken,
) -> Result<Reply, Fault> {
    let runner = &app.runner;
    let detach = job.detach;
    if detach && !runner.serves() {
        return Err(Fault::new(
            FaultKind::State,
            "no server runs that the copy could be left to, and this command would take it along when it ends; start one (dryport serve), or leave --detach out",
        ));
    }
    let heard = runner.mirror(app, job, who).await?;
    if detach {
        let job = runner.jobs().await?.show(heard.id).await?;
        return Ok(Reply::Job(Box::new(job)));
    }
    news(Progress::Job(JobBegun {
        job: heard.id,
        joined: heard.joined,
    }));
    heard.out(runner, news, gone).await.map(Reply::Mirrored)
}

/// Does what is asked of jobs.
pub(super) async fn ask(app: &App, request: Request) -> Result<Reply, Fault> {
    let runner = &app.runner;
    let jobs = runner.jobs().await?;
    let job = |job| Reply::Job(Box::new(job));
    match request {
        Request::JobShow { id } => Ok(job(jobs.show(id).await?)),
        Request::JobLog { id } => Ok(Reply::JobLog {
            lines: jobs.log(id).await?,
        }),
        Request::JobCancel { id } => {
            if jobs.cancel(id).await? {
                runner.stop(id);
            }
            Ok(job(jobs.show(id).await?))
        }
        Request::JobRetry { id } => {
            jobs.retry(id).await?;
            runner.wake();
            Ok(job(jobs.show(id).await?))
        }
        Request::JobList => Ok(Reply::Jobs {
            jobs: jobs.list().await?,
        }),
        _ => Err(Fault::new(
            FaultKind::Usage,
            "this is not a request about jobs",
        )),
    }
}

impl From<JobError> for Fault {
    fn from(error: JobError) -> Self {
        let kind = match error.kind() {
            JobErrorKind::Unknown => FaultKind::NotFound,
            JobErrorKind::Usage => FaultKind::Usage,
            JobErrorKind::State => FaultKind::State,
            JobErrorKind::Store(kind) => super::of_store(kind),
            JobErrorKind::Internal => FaultKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}
