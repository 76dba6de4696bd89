//! Sections about content: what is taken in, how long it is kept, and when it is read again.

mod audit;
mod blobs;
mod check;
mod gc;
mod history;
mod mirror;
mod policy;
mod uploads;
mod upstreams;

pub use audit::AuditSettings;
pub use blobs::BlobSettings;
pub use check::CheckSettings;
pub use gc::GcSettings;
pub use history::HistorySettings;
pub use mirror::MirrorSettings;
pub use policy::PolicySettings;
pub use uploads::UploadSettings;
pub use upstreams::{UpstreamTable, UpstreamsSettings};
