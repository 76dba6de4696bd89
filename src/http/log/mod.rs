//! What the log says of requests.

pub mod access;
pub mod audit;
pub mod refusals;
