//! Back in time: a tag, or a whole repository, made to show again what it showed, in a new revision.
//!
//! What few changes do is one transaction; more are a stage: either way readers see the old or the new. Nothing is restored that
//! the history does not keep: a revision before the repository's horizon is refused, unless a snapshot keeps it.

mod back;
mod closure;
mod plan;
mod snapshots;
mod tag;

/// Row changes of one transaction, about.
const ROWS: usize = 3_500;

/// What the restore of a repository came to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Restored {
    /// The repository.
    #[serde(default)]
    pub name: String,
    /// The revision that shows it again: a new one, unless nothing had to change.
    pub rev: u64,
    /// Tags or files that mean again what they meant.
    pub restored: u64,
    /// Tags or files that were not there then, and are gone.
    pub removed: u64,
}
