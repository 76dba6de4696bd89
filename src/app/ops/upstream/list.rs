//! `upstream-list`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::upstream::UpstreamView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every upstream, by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamList {}

/// The upstreams.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpstreamViews {
    /// They, by name; one that is hidden comes after the one that hides it.
    pub upstreams: Vec<UpstreamView>,
    /// No upstream is asked, whatever its own settings say.
    pub offline: bool,
}

impl Operation for UpstreamList {
    type Reply = UpstreamViews;

    const SPEC: Spec = Spec::new(
        "upstream-list",
        Verb::Read,
        "/upstreams",
        Action::ServerAdmin,
    )
    .about("Every upstream, by name");

    async fn run(self, ctx: &Ctx) -> Result<UpstreamViews, Fault> {
        let upstreams = &ctx.app.upstreams;
        Ok(UpstreamViews {
            upstreams: upstreams.list().iter().map(UpstreamView::from).collect(),
            offline: upstreams.is_offline(),
        })
    }
}
