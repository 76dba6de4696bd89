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
        let repos = &ctx.app.repos;
        if self.repo.is_some() {
            return Ok(repos.snapshots(self.repo.as_ref(), self.after).await?);
        }
        let (mut snapshots, mut after) = (Vec::new(), self.after);
        loop {
            let page = repos.snapshots(None, after).await?;
            let mut is_last_seen = false;
            for snapshot in page.snapshots {
                is_last_seen = ctx.sees(&snapshot.name.parse::<RepoName>()?).await?;
                if is_last_seen {
                    snapshots.push(snapshot);
                }
            }
            // Where a page ends tells of its last snapshot: one that the caller may not see ends none.
            if page.next.is_none() || (is_last_seen && !snapshots.is_empty()) {
                let next = page.next;
                return Ok(SnapshotPage { snapshots, next });
            }
            after = page.next;
        }
    }
}
