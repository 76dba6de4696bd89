//! `quota-set`.

use crate::app::ops::Prefix;
use crate::app::ops::{Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Sets how many bytes the repositories below a prefix may show.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaSet {
    /// The prefix; empty is the whole box.
    pub prefix: Prefix,
    /// Bytes.
    pub limit: u64,
    /// Bytes that only the history may keep; none: as many.
    #[serde(default)]
    pub history: Option<u64>,
}

impl Operation for QuotaSet {
    type Reply = Done;

    const SPEC: Spec = Spec::new("quota-set", Verb::Set, "/quota", Action::ServerAdmin)
        .about("Sets how many bytes the repositories below a prefix may show");

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        let repos = &ctx.app.repos;
        repos
            .set_quota(self.prefix.as_str(), self.limit, self.history)
            .await?;
        Ok(Done {})
    }
}
