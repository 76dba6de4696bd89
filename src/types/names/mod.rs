//! Names that people type, each checked once, where it enters: of repositories and their past, tags, files, snapshots, and
//! patterns of them.

pub(super) mod attached;
pub(crate) mod moment;
pub(super) mod name;
pub(super) mod path;
pub(super) mod pattern;
pub(super) mod title;
