//! Images and artifacts, by the registry protocol.

pub mod attach;
pub mod attach_lists;
pub mod attach_settings;
pub mod attestations;
pub mod bad_input;
pub mod cache;
pub mod mirror;
pub mod named;
pub mod protocol_blobs;
pub mod protocol_lists;
pub mod protocol_manifests;
pub mod wanted;
