//! `snapshot-list`.

use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::{SnapshotPage, SnapshotPlace};
use crate::types::RepoName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of the snapshots of a repository, or of all that the caller may see.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotList {
    /// The repository; none: all.
    #[serde(default)]
    pub repo: Option<RepoName>,
    /// Behind this one.
    #[serde(default)]
    pub after: Option<SnapshotPlace>,
}

impl Operation for SnapshotList {
    type Reply = SnapshotPage;

    const SPEC: Spec = Spec::new("snapshot-list", Verb::Read, "/snapshots", Action::RepoList)
        .about("One page of the snapshots of a repository, or of all that the caller may see");

    fn concerns(&self) -> Concerns {
        self.repo.clone().map_or(Concerns::Each, Concerns::Repo)
    }

    async fn run(self, ctx: &Ctx) -> Result<SnapshotPage, Fault> {
        let mut page = ctx
            .app
            .repos
            .snapshots(self.repo.as_ref(), self.after)
            .await?;
        if self.repo.is_none() {
            let mut seen = Vec::with_capacity(page.snapshots.len());
            for snapshot in page.snapshots {
                let name = snapshot.name.parse::<RepoName>()?;
                if ctx.sees(&name).await? {
                    seen.push(snapshot);
                }
            }
            page.snapshots = seen;
        }
        Ok(page)
    }
}
