//! `file-push`.

use super::tree;
use crate::app::ops::{Ctx, Fault, FaultKind, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::{At, NewFile, RepoError, When};
use crate::types::FilePath;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Seek as _;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Takes a file into a repository of files.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilePush {
    /// Repository and path.
    pub target: String,
    /// The token under which the open file was handed over.
    pub file: String,
    /// Its length in bytes.
    pub len: u64,
}

/// A file that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl Operation for FilePush {
    type Reply = Pushed;

    const SPEC: Spec = Spec::new("file-push", Verb::Make, "/file", Action::ServerAdmin)
        .about("Takes a file into a repository of files")
        .control_only();

    /// A file that gets shorter meanwhile leaves nothing.
    async fn run(self, ctx: &Ctx) -> Result<Pushed, Fault> {
        let mut file = File::from(ctx.take_file(&self.file)?);
        // Whoever handed it over may have read it; a pipe has no beginning to go to.
        let _ = file.rewind();
        let target = &self.target;
        let tree = tree(&ctx.app, target)?;
        if tree.at != At::Head {
            let text = format!("{target} means the past, which nobody can change");
            return Err(Fault::new(FaultKind::State, text));
        }
        let path = tree.path.parse::<FilePath>();
        let new = NewFile {
            path: path.map_err(|e| Fault::usage(format!("{target}: {e}")))?,
            when: When::Always,
            digest: None,
            who: ctx.who().to_owned(),
            owner: ctx.who().to_owned(),
        };
        let read = tokio::fs::File::from_std(file);
        let body = ReaderStream::with_capacity(read, PIECE);
        let repos = &ctx.app.repos;
        let filed = tokio::select! {
            filed = repos.put_file(&tree.name, new, Some(self.len), body) => filed,
            () = ctx.stop.cancelled() => return Err(Fault::failed("stopped")),
        };
        let filed = filed.map_err(|error: RepoError| {
            let mut fault = Fault::from(error);
            fault.message = format!("{target}: {fault}");
            fault
        })?;
        Ok(Pushed {
            name: self.target,
            digest: filed.digest.to_string(),
            size: filed.size,
            is_new: filed.is_new,
        })
    }
}
