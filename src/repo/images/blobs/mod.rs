//! Blobs as a repository shows them, now and in the past.

pub(in crate::repo) mod blob;
pub(in crate::repo) mod past;
