//! `schedule-remove`.

use crate::app::ops::{Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::ScheduleId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Removes a schedule; a job of it that is under way goes on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRemove {
    /// Its number.
    pub id: ScheduleId,
}

impl Operation for ScheduleRemove {
    type Reply = Done;

    const SPEC: Spec = Spec::new(
        "schedule-remove",
        Verb::Remove,
        "/schedule",
        Action::ServerAdmin,
    )
    .about("Removes a schedule; a job of it that is under way goes on");

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        ctx.app.runner.jobs().await?.unplan(self.id).await?;
        Ok(Done {})
    }
}
