//! `user-passwd`.

use crate::app::ops::Secret;
use crate::app::ops::{Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::auth::UserName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Sets a new password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPasswd {
    /// The account's name.
    pub name: UserName,
    /// Its new password.
    pub password: Secret,
}

impl Operation for UserPasswd {
    type Reply = Done;

    const SPEC: Spec = Spec::new(
        "user-passwd",
        Verb::Set,
        "/user/password",
        Action::UserAdmin,
    )
    .about("Sets a new password");

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        ctx.accounts().passwd(&self.name, &self.password.0).await?;
        ctx.app.password_changed(self.name.as_str());
        Ok(Done {})
    }
}
