//! `user-list`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::auth::UserView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every account, by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserList {}

/// The accounts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Users {
    /// They, by name.
    pub users: Vec<UserView>,
}

impl Operation for UserList {
    type Reply = Users;

    const SPEC: Spec = Spec::new("user-list", Verb::Read, "/users", Action::UserAdmin)
        .about("Every account, by name");

    async fn run(self, ctx: &Ctx) -> Result<Users, Fault> {
        let users = ctx.app.auth.list().await?;
        Ok(Users { users })
    }
}
