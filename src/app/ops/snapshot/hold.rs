//! `snapshot-hold`.

use crate::app::ops::{Concerns, Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::{RepoName, Title};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Forbids to delete a snapshot, or allows it again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotHold {
    /// The repository.
    pub repo: RepoName,
    /// The title.
    pub title: Title,
    /// Whether it is to be held.
    pub held: bool,
}

impl Operation for SnapshotHold {
    type Reply = Done;

    const SPEC: Spec = Spec::new(
        "snapshot-hold",
        Verb::Set,
        "/snapshot/hold",
        Action::RepoAdmin,
    )
    .about("Forbids to delete a snapshot, or allows it again");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.repo.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        let repos = &ctx.app.repos;
        repos
            .hold_snapshot(&self.repo, &self.title, self.held, ctx.who())
            .await?;
        Ok(Done {})
    }
}
