//! About the server itself.

mod database;
mod trust;

pub use database::DatabaseShow;
pub(in crate::app) use trust::trust_view;
pub use trust::{ServerTrust, TrustView};
