//! `schedule-list`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::jobs::ScheduleView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every schedule, the oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleList {}

/// The schedules.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Schedules {
    /// They, the oldest first.
    pub schedules: Vec<ScheduleView>,
}

impl Operation for ScheduleList {
    type Reply = Schedules;

    const SPEC: Spec = Spec::new(
        "schedule-list",
        Verb::Read,
        "/schedules",
        Action::ServerAdmin,
    )
    .about("Every schedule, the oldest first");

    async fn run(self, ctx: &Ctx) -> Result<Schedules, Fault> {
        let schedules = ctx.app.runner.jobs().await?.schedules().await?;
        Ok(Schedules { schedules })
    }
}
