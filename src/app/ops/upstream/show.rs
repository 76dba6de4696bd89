//! `upstream-show`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::upstream::{UpstreamName, UpstreamView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One upstream: its settings, and what is known of its work.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamShow {
    /// Its name.
    pub name: UpstreamName,
}

impl Operation for UpstreamShow {
    type Reply = UpstreamView;

    const SPEC: Spec = Spec::new(
        "upstream-show",
        Verb::Read,
        "/upstream",
        Action::ServerAdmin,
    )
    .about("One upstream: its settings, and what is known of its work");

    async fn run(self, ctx: &Ctx) -> Result<UpstreamView, Fault> {
        Ok((&ctx.app.upstreams.show(&self.name)?).into())
    }
}
