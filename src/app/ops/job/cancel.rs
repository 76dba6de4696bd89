//! `job-cancel`.

use crate::app::ops::FaultKind;
use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::app::runner::Task;
use crate::auth::Action;
use crate::jobs::JobView;
use crate::types::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Has a job end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobCancel {
    /// Its number.
    pub id: JobId,
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

impl Operation for JobCancel {
    type Reply = JobView;

    const SPEC: Spec = Spec::new("job-cancel", Verb::Make, "/job/cancel", Action::ServerAdmin)
        .about("Has a job end");

    async fn run(self, ctx: &Ctx) -> Result<JobView, Fault> {
        let (runner, id) = (&ctx.app.runner, self.id);
        let jobs = runner.jobs().await?;
        is_to_cancel(&jobs.show(id).await?)?;
        if jobs.cancel(id).await? {
            runner.stop(id);
        }
        Ok(jobs.show(id).await?)
    }
}
