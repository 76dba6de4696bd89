//! `snapshot-delete`.

use crate::app::ops::{Concerns, Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::{RepoName, Title};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Deletes a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotDelete {
    /// The repository.
    pub repo: RepoName,
    /// The title.
    pub title: Title,
}

impl Operation for SnapshotDelete {
    type Reply = Done;

    const SPEC: Spec = Spec::new(
        "snapshot-delete",
        Verb::Remove,
        "/snapshot",
        Action::RepoAdmin,
    )
    .about("Deletes a snapshot");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.repo.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        let repos = &ctx.app.repos;
        repos
            .delete_snapshot(&self.repo, &self.title, ctx.who())
            .await?;
        Ok(Done {})
    }
}
