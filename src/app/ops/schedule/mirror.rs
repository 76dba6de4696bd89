//! `schedule-mirror`.

use crate::app::ops::MirrorJob;
use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::jobs::{Schedule, ScheduleView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Has a copy from another registry made again and again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleMirror {
    /// What each run does; it may need neither credentials nor a certificate.
    pub job: MirrorJob,
    /// When they run.
    pub schedule: Schedule,
}

impl Operation for ScheduleMirror {
    type Reply = ScheduleView;

    const SPEC: Spec = Spec::new(
        "schedule-mirror",
        Verb::Make,
        "/schedules",
        Action::ServerAdmin,
    )
    .about("Has a copy from another registry made again and again");

    async fn run(self, ctx: &Ctx) -> Result<ScheduleView, Fault> {
        let runner = &ctx.app.runner;
        runner.plan_mirror(self.job, self.schedule, ctx.who()).await
    }
}
