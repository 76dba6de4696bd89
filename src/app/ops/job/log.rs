//! `job-log`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::jobs::JobLine;
use crate::types::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A job's log, the oldest line first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobLog {
    /// Its number.
    pub id: JobId,
}

/// A log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobLines {
    /// Its lines, the oldest first.
    pub lines: Vec<JobLine>,
}

impl Operation for JobLog {
    type Reply = JobLines;

    const SPEC: Spec = Spec::new("job-log", Verb::Read, "/job/log", Action::ServerAdmin)
        .about("A job's log, the oldest line first");

    async fn run(self, ctx: &Ctx) -> Result<JobLines, Fault> {
        let lines = ctx.app.runner.jobs().await?.log(self.id).await?;
        Ok(JobLines { lines })
    }
}
