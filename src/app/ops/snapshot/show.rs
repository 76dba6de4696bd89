//! `snapshot-show`.

use crate::app::ops::PastRef;
use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::SnapshotView;
use crate::types::RepoName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A snapshot, a revision or a time of a repository, with the root digest of its content.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotShow {
    /// The repository.
    pub repo: RepoName,
    /// A title, a revision or a time.
    pub reference: PastRef,
}

impl Operation for SnapshotShow {
    type Reply = SnapshotView;

    const SPEC: Spec = Spec::new("snapshot-show", Verb::Read, "/snapshot", Action::RepoPull).about(
        "A snapshot, a revision or a time of a repository, with the root digest of its content",
    );

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.repo.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<SnapshotView, Fault> {
        let repos = &ctx.app.repos;
        Ok(repos.show_snapshot(&self.repo, self.reference.at()).await?)
    }
}
