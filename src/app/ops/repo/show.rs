//! `repo-show`.

use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::RepoView;
use crate::types::RepoName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One repository.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepoShow {
    /// The repository.
    pub name: RepoName,
}

impl Operation for RepoShow {
    type Reply = RepoView;

    const SPEC: Spec =
        Spec::new("repo-show", Verb::Read, "/repo", Action::RepoList).about("One repository");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.name.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<RepoView, Fault> {
        Ok(ctx.app.repos.view(&self.name).await?)
    }
}
