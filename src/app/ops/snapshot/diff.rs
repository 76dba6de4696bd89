//! `snapshot-diff`.

use crate::app::ops::PastRef;
use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::{At, Difference};
use crate::types::RepoName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a repository showed at one point otherwise than at another.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotDiff {
    /// The repository.
    pub repo: RepoName,
    /// The first point.
    pub from: PastRef,
    /// The second one; none: now.
    #[serde(default)]
    pub to: Option<PastRef>,
}

impl Operation for SnapshotDiff {
    type Reply = Difference;

    const SPEC: Spec = Spec::new(
        "snapshot-diff",
        Verb::Read,
        "/snapshot/diff",
        Action::RepoPull,
    )
    .about("What a repository showed at one point otherwise than at another");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.repo.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<Difference, Fault> {
        let (from, to) = (
            self.from.at(),
            self.to.map_or(At::Head, |to| to.at().clone()),
        );
        let repos = &ctx.app.repos;
        Ok(repos.diff_snapshots(&self.repo, from, &to).await?)
    }
}
