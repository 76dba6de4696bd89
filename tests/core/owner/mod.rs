//! Whose the data directory is.

pub mod directory;
pub mod files;
pub mod settings;
