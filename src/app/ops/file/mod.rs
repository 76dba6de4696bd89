//! Files of the operator's in repositories of files. Accounts put and get them by their URLs.

mod push;
mod show;

pub use push::{FilePush, Pushed};
pub use show::{FileAt, FileShow};

use super::{Fault, FaultKind};
use crate::app::App;
use crate::repo::Tree;

/// The repository of files that a name begins with, and the path in it.
fn tree(app: &App, target: &str) -> Result<Tree, Fault> {
    app.repos.tree(target).ok_or_else(|| {
        Fault::new(
            FaultKind::NotFound,
            format!("{target} begins with the name of no repository of files; make one with: dryport repo create NAME --kind file"),
        )
    })
}
