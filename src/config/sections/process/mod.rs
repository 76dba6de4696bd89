//! Sections about the server's own process: its memory, its database and its log.

mod cache;
mod log;
mod store;

pub use cache::CacheSettings;
pub use log::LogSettings;
pub use store::StoreSettings;
