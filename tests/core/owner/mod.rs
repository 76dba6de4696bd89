//! Whose the data directory is.

pub mod directory;
pub mod files;
pub mod handed;
pub mod settings;
