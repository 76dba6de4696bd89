//! `user-add`.

use super::checked;
use crate::app::ops::Secret;
use crate::app::ops::{Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::auth::{RoleGrant, UserName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes an account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserAdd {
    /// The account's name.
    pub name: UserName,
    /// Its password.
    pub password: Secret,
    /// What it may do, from the start.
    #[serde(default)]
    pub grants: Vec<RoleGrant>,
}

impl Operation for UserAdd {
    type Reply = Done;

    const SPEC: Spec =
        Spec::new("user-add", Verb::Make, "/users", Action::UserAdmin).about("Makes an account");

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        let grants = self
            .grants
            .into_iter()
            .map(checked)
            .collect::<Result<Vec<_>, _>>()?;
        ctx.accounts()
            .add(&self.name, &self.password.0, grants)
            .await?;
        Ok(Done {})
    }
}
