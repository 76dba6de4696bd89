//! `tag-delete`.

use crate::app::ops::{Concerns, Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::{RepoName, Tag};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Deletes a tag; the manifest stays.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagDelete {
    /// The repository.
    pub repo: RepoName,
    /// The tag.
    pub tag: Tag,
}

impl Operation for TagDelete {
    type Reply = Done;

    const SPEC: Spec = Spec::new("tag-delete", Verb::Remove, "/tag", Action::RepoDelete)
        .about("Deletes a tag; the manifest stays");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.repo.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        let repos = &ctx.app.repos;
        repos.delete_tag(&self.repo, &self.tag, ctx.who()).await?;
        Ok(Done {})
    }
}
