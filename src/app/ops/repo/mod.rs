//! Repositories.

mod create;
mod delete;
mod list;
mod set;
mod show;

pub use create::RepoCreate;
pub use delete::RepoDelete;
pub use list::{RepoList, RepoPage};
pub use set::RepoSet;
pub use show::RepoShow;
