//! Who may do what.

pub mod access;
pub mod cells;
pub mod changes;
pub mod law;
pub mod matrix;
pub mod operations;
pub mod people;
pub mod server;
pub mod timeline;
pub mod token_service;
pub mod tokens;
pub mod wire;
pub mod world;
