//! Rows about a repository as a whole: heads and names, snapshots, quotas, figures.

pub(super) mod heads;
pub(super) mod pins;
pub(super) mod quotas;
pub(super) mod trees;
pub(super) mod usage;
