//! `job-list`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::jobs::JobView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every job, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobList {}

/// The jobs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AllJobs {
    /// They, the newest first.
    pub jobs: Vec<JobView>,
}

impl Operation for JobList {
    type Reply = AllJobs;

    const SPEC: Spec = Spec::new("job-list", Verb::Read, "/jobs", Action::ServerAdmin)
        .about("Every job, the newest first");

    async fn run(self, ctx: &Ctx) -> Result<AllJobs, Fault> {
        let jobs = ctx.app.runner.jobs().await?.list().await?;
        Ok(AllJobs { jobs })
    }
}
