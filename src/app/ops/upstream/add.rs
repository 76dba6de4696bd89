//! `upstream-add`.

use super::guard;
use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::RepoName;
use crate::upstream::{UpstreamChange, UpstreamName, UpstreamSettings, UpstreamUrl, UpstreamView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Adds an upstream: another registry that is fetched from on demand.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamAdd {
    /// Its name.
    pub name: UpstreamName,
    /// Its addresses, at least one: the next is asked where one cannot be reached.
    pub urls: Vec<UpstreamUrl>,
    /// What the names of its repositories begin with here.
    pub prefix: RepoName,
    /// What is other than the default.
    #[serde(default)]
    pub settings: UpstreamChange,
}

impl Operation for UpstreamAdd {
    type Reply = UpstreamView;

    const SPEC: Spec = Spec::new(
        "upstream-add",
        Verb::Make,
        "/upstreams",
        Action::ServerAdmin,
    )
    .about("Adds an upstream: another registry that is fetched from on demand");

    async fn run(self, ctx: &Ctx) -> Result<UpstreamView, Fault> {
        guard::may_name(ctx, self.settings.credentials.as_ref())?;
        let settings = UpstreamSettings::new(self.name, self.urls, self.prefix);
        let settings = self.settings.of(settings);
        let upstreams = &ctx.app.upstreams;
        Ok((&upstreams.add(settings, ctx.who()).await?).into())
    }
}
