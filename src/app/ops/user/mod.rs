//! Accounts and their roles.

mod add;
mod grant;
mod list;
mod passwd;
mod remove;
mod revoke;

pub use add::UserAdd;
pub use grant::UserGrant;
pub use list::{UserList, Users};
pub use passwd::UserPasswd;
pub use remove::UserRemove;
pub use revoke::UserRevoke;

use super::Fault;
use super::input::Prefix;
use crate::auth::RoleGrant;

/// A role whose prefix reads as one.
fn checked(mut grant: RoleGrant) -> Result<RoleGrant, Fault> {
    grant.prefix = grant.prefix.parse::<Prefix>()?.to_string();
    Ok(grant)
}
