//! `upstream-test`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::upstream::{UpstreamName, UpstreamTest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tries an upstream out: finds its addresses, connects, logs in and asks, also where it is offline.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTry {
    /// Its name.
    pub name: UpstreamName,
}

impl Operation for UpstreamTry {
    type Reply = UpstreamTest;

    const SPEC: Spec = Spec::new(
        "upstream-test",
        Verb::Make,
        "/upstream/test",
        Action::ServerAdmin,
    )
    .about("Tries an upstream out: finds its addresses, connects, logs in and asks");

    async fn run(self, ctx: &Ctx) -> Result<UpstreamTest, Fault> {
        let upstreams = &ctx.app.upstreams;
        let upstream = upstreams.show(&self.name)?.upstream;
        Ok(upstream.try_out(upstreams.is_offline()).await)
    }
}
