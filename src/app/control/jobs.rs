//! Jobs, as the control API sees them.

use super::work::OPERATOR;
use super::{CheckRequest, Fault, FaultKind, JobBegun, MirrorJob, News, Progress, Reply, Request};
use crate::app::App;
use crate::app::runner::{DeleteTask, GcTask, Task, WATCHED};
use crate::jobs::{JobError, JobErrorKind, JobView};
use crate::repo::Deleted;
use crate::types::JobId;
use tokio_util::sync::CancellationToken;

/// The number of no job: work that is done without a row that shows it.
const NO_JOB: JobId = JobId(0);

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
    let heard = runner.start(app, Task::Mirror(Box::new(job)), who).await?;
    if detach {
        let job = runner.jobs().await?.show(heard.id).await?;
        return Ok(Reply::Job(Box::new(job)));
    }
    news(Progress::Job(JobBegun {
        job: heard.id,
        joined: heard.joined,
    }));
    heard.out(runner, news, gone).await
}

/// Sweeps, as a job. Where its row cannot be written (the disk may be full), it is done all the same.
pub(super) async fn gc(
    app: &App,
    purge_history: bool,
    news: News,
    gone: CancellationToken,
) -> Result<Reply, Fault> {
    let task = Task::Gc(GcTask { purge_history });
    match app.runner.start(app, task.clone(), OPERATOR).await {
        Ok(heard) => heard.out(&app.runner, news, gone).await,
        Err(error) => {
            tracing::warn!(%error, "this sweep is done without a job that shows it");
            task.run(app, NO_JOB, news, CancellationToken::new()).await
        }
    }
}

/// Leaves what a deleted repository has left to a job. Where its row cannot be written, the collector does it in its time.
pub(super) async fn delete(app: &App, name: String, deleted: Deleted) {
    let task = Task::Delete(DeleteTask { name, deleted });
    let runner = &app.runner;
    // It does not wait for a place of the queue, which copies may have for hours.
    let left = if runner.serves() {
        runner.start(app, task, OPERATOR).await.map(drop)
    } else {
        runner.queue(&task, OPERATOR).await.map(drop)
    };
    if let Err(error) = left {
        tracing::warn!(%error, "the rows of a deleted repository go without a job that shows it");
    }
}

/// Checks: reading every byte of a running server is a job, since that takes long.
pub(super) async fn check(
    app: &App,
    request: CheckRequest,
    news: News,
    gone: CancellationToken,
) -> Result<Reply, Fault> {
    let task = Task::Check(request);
    if !request.deep || !app.runner.serves() {
        return task.run(app, NO_JOB, news, gone).await;
    }
    match app.runner.start(app, task.clone(), OPERATOR).await {
        Ok(heard) => heard.out(&app.runner, news, gone).await,
        Err(error) => {
            tracing::warn!(%error, "this check is done without a job that shows it");
            task.run(app, NO_JOB, news, gone).await
        }
    }
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
            is_to_cancel(&jobs.show(id).await?)?;
            if jobs.cancel(id).await? {
                runner.stop(id);
            }
            Ok(job(jobs.show(id).await?))
        }
        Request::JobRetry { id } => {
            is_to_retry(&jobs.show(id).await?)?;
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

/// Refuses to cancel what would be done all the same.
fn is_to_cancel(job: &JobView) -> Result<(), Fault> {
    if job.kind != Task::DELETE || job.state.has_ended() {
        return Ok(());
    }
    let text = format!(
        "job {} drops the rows of a repository that is deleted: there is no way back, and the collector would drop them without the job",
        job.id
    );
    Err(Fault::new(FaultKind::State, text))
}

/// Refuses to queue what no queue runs.
fn is_to_retry(job: &JobView) -> Result<(), Fault> {
    if !WATCHED.contains(&job.kind.as_str()) {
        return Ok(());
    }
    let text = format!(
        "job {} showed what the server does by itself ({}); it is done again by itself in its time",
        job.id, job.kind
    );
    Err(Fault::new(FaultKind::State, text))
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
