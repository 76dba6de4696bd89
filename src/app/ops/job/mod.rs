//! Jobs, and how operations leave slow work to one.

mod cancel;
mod list;
mod log;
mod retry;
mod show;

pub use cancel::JobCancel;
pub use list::{AllJobs, JobList};
pub use log::{JobLines, JobLog};
pub use retry::JobRetry;
pub use show::JobShow;

use super::{Ctx, Fault, Slow};
use crate::app::runner::{Came, Task};
use crate::types::JobId;
use tokio_util::sync::CancellationToken;

/// The number of no job: work that is done without a row that shows it.
pub(super) const NO_JOB: JobId = JobId(0);

/// Does work as a job: to its end for a caller who waits, else on its own. Where the job's row cannot be written (the disk may
/// be full), work for a caller who waits is done all the same; `alone` ends it early then.
pub(super) async fn as_job(
    ctx: &Ctx,
    task: Task,
    alone: CancellationToken,
) -> Result<Slow<Came>, Fault> {
    let runner = &ctx.app.runner;
    if !ctx.waits() {
        return left_to_the_queue(ctx, &task).await;
    }
    match runner.start(&ctx.app, task.clone(), ctx.who()).await {
        Ok(heard) => {
            let came = heard.out(runner, ctx.news(), ctx.stop.clone()).await?;
            Ok(Slow::Done(came))
        }
        Err(error) => {
            tracing::warn!(%error, kind = task.kind(), "this work is done without a job that shows it");
            let came = task.run(&ctx.app, NO_JOB, ctx.news(), alone).await?;
            Ok(Slow::Done(came))
        }
    }
}

/// Leaves work to the queue, which runs a few jobs at once.
pub(super) async fn left_to_the_queue<T>(ctx: &Ctx, task: &Task) -> Result<Slow<T>, Fault> {
    let runner = &ctx.app.runner;
    let id = runner.queue(task, ctx.who()).await?;
    let job = runner.jobs().await?.show(id).await?;
    Ok(Slow::Job(Box::new(job)))
}
