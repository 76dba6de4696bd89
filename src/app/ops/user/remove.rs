//! `user-remove`.

use crate::app::ops::{Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::auth::UserName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Removes an account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRemove {
    /// The account's name.
    pub name: UserName,
}

impl Operation for UserRemove {
    type Reply = Done;

    const SPEC: Spec = Spec::new("user-remove", Verb::Remove, "/user", Action::UserAdmin)
        .about("Removes an account");

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        ctx.accounts().remove(&self.name).await?;
        ctx.app.password_changed(self.name.as_str());
        Ok(Done {})
    }
}
