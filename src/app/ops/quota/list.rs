//! `quota-list`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::QuotaView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every quota, by prefix.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaList {}

/// The quotas.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Quotas {
    /// They, by prefix.
    pub quotas: Vec<QuotaView>,
}

impl Operation for QuotaList {
    type Reply = Quotas;

    const SPEC: Spec = Spec::new("quota-list", Verb::Read, "/quotas", Action::ServerAdmin)
        .about("Every quota, by prefix");

    async fn run(self, ctx: &Ctx) -> Result<Quotas, Fault> {
        let quotas = ctx.app.repos.quotas().await?;
        Ok(Quotas { quotas })
    }
}
