//! What the log says of requests.

pub mod access;
pub mod refusals;
