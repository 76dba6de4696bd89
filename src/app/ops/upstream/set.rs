//! `upstream-set`.

use super::guard;
use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::RepoName;
use crate::upstream::{UpstreamChange, UpstreamName, UpstreamUrl, UpstreamView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Changes settings of an upstream that was added; what is left out stays as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSet {
    /// Its name.
    pub name: UpstreamName,
    /// Its addresses, all of them.
    #[serde(default)]
    pub urls: Option<Vec<UpstreamUrl>>,
    /// What the names of its repositories begin with here. Those that are here keep their names.
    #[serde(default)]
    pub prefix: Option<RepoName>,
    /// What becomes another.
    #[serde(default)]
    pub settings: UpstreamChange,
}

impl UpstreamSet {
    /// Whether it changes where an upstream's secrets are sent, or who can read them on the way.
    fn leads_elsewhere(&self) -> bool {
        self.urls.is_some() || self.settings.proxy.is_some() || self.settings.ca_pem.is_some()
    }
}

impl Operation for UpstreamSet {
    type Reply = UpstreamView;

    const SPEC: Spec = Spec::new("upstream-set", Verb::Set, "/upstream", Action::ServerAdmin)
        .about("Changes settings of an upstream that was added; what is left out stays as it is");

    async fn run(self, ctx: &Ctx) -> Result<UpstreamView, Fault> {
        guard::may_name(ctx, self.settings.credentials.as_ref())?;
        let upstreams = &ctx.app.upstreams;
        let own = &upstreams.show(&self.name)?.upstream.settings.credentials;
        if self.leads_elsewhere() && self.settings.credentials.is_none() {
            guard::may_lead_elsewhere(ctx, own)?;
        }
        let Self {
            name,
            urls,
            prefix,
            settings,
        } = self;
        let change = move |mut own: crate::upstream::UpstreamSettings| {
            if let Some(urls) = &urls {
                own.urls.clone_from(urls);
            }
            if let Some(prefix) = &prefix {
                own.prefix = prefix.clone();
            }
            settings.clone().of(own)
        };
        Ok((&upstreams.set(&name, ctx.who(), change).await?).into())
    }
}
