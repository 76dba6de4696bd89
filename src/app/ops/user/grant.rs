//! `user-grant`.

use super::checked;
use crate::app::ops::{Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::auth::{RoleGrant, UserName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Gives an account a role on a prefix, in place of the role that it had on exactly this prefix.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserGrant {
    /// The account's name.
    pub name: UserName,
    /// Role and prefix.
    pub grant: RoleGrant,
}

impl Operation for UserGrant {
    type Reply = Done;

    const SPEC: Spec = Spec::new("user-grant", Verb::Set, "/user/grant", Action::UserAdmin)
        .about("Gives an account a role on a prefix, in place of the role that it had on exactly this prefix");

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        ctx.accounts()
            .grant(&self.name, checked(self.grant)?)
            .await?;
        Ok(Done {})
    }
}
