//! `user-revoke`.

use crate::app::ops::Prefix;
use crate::app::ops::{Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::auth::UserName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Takes away the role on exactly this prefix.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRevoke {
    /// The account's name.
    pub name: UserName,
    /// The prefix; empty is everything.
    #[serde(default)]
    pub prefix: Prefix,
}

impl Operation for UserRevoke {
    type Reply = Done;

    const SPEC: Spec = Spec::new(
        "user-revoke",
        Verb::Remove,
        "/user/grant",
        Action::UserAdmin,
    )
    .about("Takes away the role on exactly this prefix");

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        ctx.accounts()
            .revoke(&self.name, self.prefix.as_str())
            .await?;
        Ok(Done {})
    }
}
