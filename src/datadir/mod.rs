//! The data directory as the system sees it: how a file in it is opened, whose the directory may be, and becoming the user
//! it belongs to.
//!
//! Knows no layout beyond the names of the folders that must be the owner's alone; what lies in a file is for whoever
//! opens it. Content files have flags of their own, in `blobs`, which opens them by the thousand.

mod error;
mod identity;
mod judge;
mod open;
mod way;

pub use error::{DirError, DirErrorKind};
pub use identity::{Identity, become_user, name_of};
pub use judge::{SafeDir, judge};
pub use open::{
    NO_WAIT, is_there, make_folder, may_replace, open_own, read, read_text, remove_own, replace,
    strange, what,
};
