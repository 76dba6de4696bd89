//! `file-show`.

use super::{Pushed, tree};
use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::RepoError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The file at a path now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FileShow {
    /// Repository and path.
    pub target: String,
}

/// What is there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FileAt {
    /// The file; one whose bytes are damaged is none, as a push heals it.
    pub file: Option<Pushed>,
}

impl Operation for FileShow {
    type Reply = FileAt;

    const SPEC: Spec = Spec::new("file-show", Verb::Read, "/file", Action::ServerAdmin)
        .about("The file at a path now")
        .control_only();

    async fn run(self, ctx: &Ctx) -> Result<FileAt, Fault> {
        let tree = tree(&ctx.app, &self.target)?;
        let file = match ctx.app.repos.file(&tree).await {
            Ok(file) => Some(Pushed {
                name: self.target,
                digest: file.blob.digest.to_string(),
                size: file.blob.size,
                is_new: false,
            }),
            Err(RepoError::PathUnknown(_) | RepoError::FileDamaged(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(FileAt { file })
    }
}
