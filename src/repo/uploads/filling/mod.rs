//! Fills: blobs that a mirror brings, and which of them are under way.

pub(in crate::repo) mod fill;
pub(in crate::repo) mod fills;
