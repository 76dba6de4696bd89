//! What holds on the wire, whatever is asked for: connections, ranges, rights, the log.

pub mod abuse;
pub mod api;
pub mod audit;
pub mod authz;
pub mod broken_off;
pub mod ends;
pub mod lists;
pub mod log;
pub mod pieces;
pub mod proxy;
pub mod ranges;
pub mod sent_files;
pub mod streams;
pub mod trust;
pub mod wire;
