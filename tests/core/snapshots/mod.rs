//! Snapshots.

pub mod files;
pub mod images;
pub mod pull;
pub mod quota;
