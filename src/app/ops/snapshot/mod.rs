//! Snapshots.

mod create;
mod delete;
mod diff;
mod hold;
mod list;
mod restore;
mod show;

pub use create::{SnapshotCreate, Snapshots};
pub use delete::SnapshotDelete;
pub use diff::SnapshotDiff;
pub use hold::SnapshotHold;
pub use list::SnapshotList;
pub use restore::{RestoredAll, SnapshotRestore};
pub use show::SnapshotShow;

use super::Concerns;
use crate::types::RepoPattern;

/// What a pattern of names concerns: the repository, or everything below the part before its first star.
fn below(of: &RepoPattern) -> Concerns {
    match of.as_name() {
        Some(name) => Concerns::Repo(name),
        None => Concerns::Below(of.prefix().to_owned()),
    }
}
