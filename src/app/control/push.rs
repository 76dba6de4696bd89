//! `push`: one file of the operator's into a repository of files, and whether it is there already. Its bytes come beside the control
//! protocol, as a stream.

use super::{Fault, FaultKind};
use crate::app::App;
use crate::repo::{At, NewFile, RepoError, Tree, When};
use crate::types::FilePath;
use bytes::Bytes;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// Who the history names, and whose the upload is.
const OPERATOR: &str = "operator";

/// A file that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Repository and path.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// Nothing was there before.
    pub is_new: bool,
}

/// Takes a file of so many bytes; `target` is the repository and the path in it. Durable when this returns.
///
/// # Errors
/// Those of the repository; a stream that breaks off leaves nothing.
pub async fn push<E: Display>(
    app: &App,
    target: &str,
    len: u64,
    body: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
) -> Result<Pushed, Fault> {
    let tree = tree(app, target)?;
    if tree.at != At::Head {
        let text = format!("{target} means the past, which nobody can change");
        return Err(Fault::new(FaultKind::State, text));
    }
    let path = tree.path.parse::<FilePath>();
    let path = path.map_err(|e| Fault::new(FaultKind::Usage, format!("{target}: {e}")))?;
    let new = NewFile {
        path,
        when: When::Always,
        digest: None,
        who: OPERATOR.to_owned(),
        owner: OPERATOR.to_owned(),
    };
    let filed = app.repos.put_file(&tree.name, new, Some(len), body).await;
    let filed = filed.map_err(|error: RepoError| {
        let fault = Fault::from(error);
        Fault::new(fault.kind, format!("{target}: {fault}"))
    })?;
    Ok(Pushed {
        name: target.to_owned(),
        digest: filed.digest.to_string(),
        size: filed.size,
        is_new: filed.is_new,
    })
}

/// The file at a path now: one whose bytes are damaged is none, as a push heals it.
///
/// # Errors
/// Those of the repository.
pub async fn file_at(app: &App, target: &str) -> Result<Option<Pushed>, Fault> {
    let tree = tree(app, target)?;
    match app.repos.file(&tree).await {
        Ok(file) => Ok(Some(Pushed {
            name: target.to_owned(),
            digest: file.blob.digest.to_string(),
            size: file.blob.size,
            is_new: false,
        })),
        Err(RepoError::PathUnknown(_) | RepoError::FileDamaged(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn tree(app: &App, target: &str) -> Result<Tree, Fault> {
    app.repos.tree(target).ok_or_else(|| {
        Fault::new(
            FaultKind::NotFound,
            format!("{target} begins with the name of no repository of files; make one with: dryport repo create NAME --kind file"),
        )
    })
}
