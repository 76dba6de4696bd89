//! Logging in at other servers: challenges, the credentials of the user, who may get them, and tokens. Sends nothing by itself.

pub mod challenge;
pub mod credentials;
pub(super) mod realm;
pub(super) mod token;
