//! `gc-survey`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::reclaim::Survey;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a sweep would find.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GcSurvey {}

impl Operation for GcSurvey {
    type Reply = Survey;

    const SPEC: Spec = Spec::new("gc-survey", Verb::Read, "/gc", Action::ServerAdmin)
        .about("What a sweep would find");

    async fn run(self, ctx: &Ctx) -> Result<Survey, Fault> {
        Ok(ctx.app.repos.survey().await?)
    }
}
