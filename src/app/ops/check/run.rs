//! `check-run`.

use crate::app::ops::job::{NO_JOB, as_job};
use crate::app::ops::{Ctx, Fault, Operation, Slow, Spec, Verb};
use crate::app::runner::Task;
use crate::auth::Action;
use crate::gc::check::{CheckReport, CheckRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Checks all data.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What to check.
    pub check: CheckRequest,
}

impl Operation for Check {
    type Reply = CheckReport;

    const SPEC: Spec = Spec::new("check-run", Verb::Make, "/check", Action::ServerAdmin)
        .about("Checks all data")
        .control_only();

    /// One that repairs nothing writes nothing, on a disk that may not be its own.
    fn changes(&self) -> bool {
        self.check.repair
    }

    /// Reading every byte of a running server is a job, since that takes long.
    async fn run(self, ctx: &Ctx) -> Result<CheckReport, Fault> {
        let task = Task::Check(self.check);
        if !self.check.deep || !ctx.app.runner.serves() {
            let came = task.run(&ctx.app, NO_JOB, ctx.news(), ctx.stop.clone());
            return came.await?.checked();
        }
        match as_job(ctx, task, ctx.stop.clone()).await? {
            Slow::Done(came) => came.checked(),
            Slow::Job(job) => Err(Fault::failed(format!("job {} reads every byte", job.id))),
        }
    }
}
