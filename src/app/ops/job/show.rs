//! `job-show`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::jobs::JobView;
use crate::types::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobShow {
    /// Its number.
    pub id: JobId,
}

impl Operation for JobShow {
    type Reply = JobView;

    const SPEC: Spec =
        Spec::new("job-show", Verb::Read, "/job", Action::ServerAdmin).about("One job");

    async fn run(self, ctx: &Ctx) -> Result<JobView, Fault> {
        Ok(ctx.app.runner.jobs().await?.show(self.id).await?)
    }
}
