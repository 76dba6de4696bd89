//! Quotas.

mod list;
mod remove;
mod set;

pub use list::{QuotaList, Quotas};
pub use remove::QuotaRemove;
pub use set::QuotaSet;
