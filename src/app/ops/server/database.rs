//! `database-show`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::store::DatabaseStatus;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the database is: its schema, who may open it, and its copies from before upgrades.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseShow {}

impl Operation for DatabaseShow {
    type Reply = DatabaseStatus;

    const SPEC: Spec = Spec::new(
        "database-show",
        Verb::Read,
        "/database",
        Action::ServerAdmin,
    )
    .about(
        "What the database is: its schema, who may open it, and its copies from before upgrades",
    );

    async fn run(self, ctx: &Ctx) -> Result<DatabaseStatus, Fault> {
        let store = ctx.app.store.clone();
        let status = tokio::task::spawn_blocking(move || store.status());
        Ok(status.await.map_err(Fault::failed)??)
    }
}
