//! What clients may have under way at once.

pub mod large_documents;
pub mod long_lists;
pub mod many_ranges;
pub mod open_files;
mod per_client;

pub use per_client::{Client, ClientPlace, Places};
