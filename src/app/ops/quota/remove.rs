//! `quota-remove`.

use crate::app::ops::Prefix;
use crate::app::ops::{Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Ends a quota.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaRemove {
    /// The prefix; empty is the whole box.
    #[serde(default)]
    pub prefix: Prefix,
}

impl Operation for QuotaRemove {
    type Reply = Done;

    const SPEC: Spec = Spec::new("quota-remove", Verb::Remove, "/quota", Action::ServerAdmin)
        .about("Ends a quota");

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        ctx.app.repos.remove_quota(self.prefix.as_str()).await?;
        Ok(Done {})
    }
}
