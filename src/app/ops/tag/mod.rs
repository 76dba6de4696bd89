//! Tags and their history.

mod delete;
mod history;
mod list;
mod restore;

pub use delete::TagDelete;
pub use history::{TagChanges, TagHistory};
pub use list::{TagList, TagNames};
pub use restore::{TagRestore, TagRestored};
