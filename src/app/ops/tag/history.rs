//! `tag-history`.

use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::TagChange;
use crate::types::{RepoName, Tag};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a tag has meant, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagHistory {
    /// The repository.
    pub repo: RepoName,
    /// The tag.
    pub tag: Tag,
}

/// A tag's history.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TagChanges {
    /// Its changes, the newest first.
    pub changes: Vec<TagChange>,
}

impl Operation for TagHistory {
    type Reply = TagChanges;

    const SPEC: Spec = Spec::new("tag-history", Verb::Read, "/tag/history", Action::RepoPull)
        .about("What a tag has meant, the newest first");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.repo.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<TagChanges, Fault> {
        let changes = ctx.app.repos.tag_history(&self.repo, &self.tag).await?;
        Ok(TagChanges { changes })
    }
}
