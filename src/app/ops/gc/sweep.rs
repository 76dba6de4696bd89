//! `gc-sweep`.

use crate::app::ops::job::as_job;
use crate::app::ops::{Ctx, Fault, Operation, Slow, Spec, Verb};
use crate::app::runner::{GcTask, Task};
use crate::auth::Action;
use crate::gc::Report;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// One whole sweep: removes what nothing needs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GcSweep {
    /// The history keeps nothing this time.
    #[serde(default)]
    pub purge_history: bool,
}

impl Operation for GcSweep {
    type Reply = Slow<Report>;

    const SPEC: Spec = Spec::new("gc-sweep", Verb::Make, "/gc", Action::ServerAdmin)
        .about("One whole sweep: removes what nothing needs")
        .slow();

    async fn run(self, ctx: &Ctx) -> Result<Slow<Report>, Fault> {
        let task = Task::Gc(GcTask {
            purge_history: self.purge_history,
        });
        Ok(match as_job(ctx, task, CancellationToken::new()).await? {
            Slow::Done(came) => Slow::Done(came.swept()?),
            Slow::Job(job) => Slow::Job(job),
        })
    }
}
