//! Uploads: how long they are kept, and what ends with them.

pub mod end;
pub mod kept;
pub mod open_files;
