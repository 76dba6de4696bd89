//! Content that comes: the files of uploads and what is in memory before it is in them, hashed on the way, taken up again after
//! a restart.

pub(super) mod ahead;
pub(super) mod buffer;
pub(super) mod ingest;
pub(super) mod listing;
pub(super) mod resuming;
pub(super) mod twin;
pub(super) mod upload;
