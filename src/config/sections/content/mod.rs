//! Sections about content: what is taken in, how long it is kept, and when it is read again.

mod audit;
mod blobs;
mod check;
mod gc;
mod history;
mod mirror;
mod policy;
mod uploads;

pub use audit::Audit;
pub use blobs::Blobs;
pub use check::Check;
pub use gc::Gc;
pub use history::History;
pub use mirror::Mirror;
pub use policy::Policy;
pub use uploads::Uploads;
