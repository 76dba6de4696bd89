//! From names to repositories: at a revision for reads, remembered for pushes, and the list of those that are no registries.

pub(super) mod home;
pub(super) mod shown;
pub(super) mod tree;
