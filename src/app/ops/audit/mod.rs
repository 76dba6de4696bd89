//! The audit trail, as it is asked for.

mod list;
mod verify;

pub use list::AuditList;
pub use verify::AuditVerify;
