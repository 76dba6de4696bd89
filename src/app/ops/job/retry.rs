//! `job-retry`.

use crate::app::ops::FaultKind;
use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::app::runner::WATCHED;
use crate::auth::Action;
use crate::jobs::JobView;
use crate::types::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Queues a job again that failed or was cancelled.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRetry {
    /// Its number.
    pub id: JobId,
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

impl Operation for JobRetry {
    type Reply = JobView;

    const SPEC: Spec = Spec::new("job-retry", Verb::Make, "/job/retry", Action::ServerAdmin)
        .about("Queues a job again that failed or was cancelled");

    async fn run(self, ctx: &Ctx) -> Result<JobView, Fault> {
        let (runner, id) = (&ctx.app.runner, self.id);
        let jobs = runner.jobs().await?;
        is_to_retry(&jobs.show(id).await?)?;
        jobs.retry(id).await?;
        runner.wake();
        Ok(jobs.show(id).await?)
    }
}
