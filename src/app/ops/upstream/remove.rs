//! `upstream-remove`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::{PageRequest, RepoName};
use crate::upstream::UpstreamName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Removes an upstream that was added; the repositories that came from it stay.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamRemove {
    /// Its name.
    pub name: UpstreamName,
}

/// What stays of an upstream.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpstreamRemoved {
    /// What the names of its repositories begin with.
    pub prefix: RepoName,
    /// How many repositories have such names; they stay and can be read.
    pub repositories: u64,
}

impl Operation for UpstreamRemove {
    type Reply = UpstreamRemoved;

    const SPEC: Spec = Spec::new(
        "upstream-remove",
        Verb::Remove,
        "/upstream",
        Action::ServerAdmin,
    )
    .about("Removes an upstream that was added; the repositories that came from it stay");

    async fn run(self, ctx: &Ctx) -> Result<UpstreamRemoved, Fault> {
        let upstreams = &ctx.app.upstreams;
        // One that the configuration hides is what goes.
        let listed = upstreams.list().into_iter();
        let mut named = listed.filter(|one| one.upstream.settings.name == self.name);
        let prefix = named
            .next_back()
            .map(|one| one.upstream.settings.prefix.clone());
        upstreams.remove(&self.name, ctx.who()).await?;
        let prefix = prefix.ok_or(crate::upstream::UpstreamError::Unknown(self.name))?;
        let repositories = count(ctx, &prefix).await?;
        Ok(UpstreamRemoved {
            prefix,
            repositories,
        })
    }
}

/// How many repositories are below a prefix.
async fn count(ctx: &Ctx, prefix: &RepoName) -> Result<u64, Fault> {
    // Names come in order: from the slash on they are below, until one is not.
    let (mut found, mut next) = (0, Some(format!("{prefix}/")));
    while let Some(after) = next {
        let repos = &ctx.app.repos;
        let page = repos.names(None, Some(&after), PageRequest::MAX).await?;
        let is_below = |name: &&RepoName| name.is_under(prefix.as_str());
        let below = page.names.iter().take_while(is_below).count();
        found += below as u64;
        next = page.next.filter(|_| below == page.names.len());
    }
    Ok(found)
}
