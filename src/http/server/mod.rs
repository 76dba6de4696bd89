//! From a socket to requests, and back to the socket.
//!
//! Owns connections, clocks, and what clients may hold at once. Must not know what a path means.

pub mod accept;
mod bare;
pub mod connections;
pub mod drain;
pub mod limits;
pub mod sending;
mod speak;
mod write_timeout;

pub use accept::{Listener, bind, serve};
