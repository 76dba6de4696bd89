//! `snapshot-restore`.

use super::below;
use crate::app::ops::PastRef;
use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::Restored;
use crate::types::RepoPattern;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes repositories show again what they showed, all at once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRestore {
    /// A repository, or a pattern of names.
    pub of: RepoPattern,
    /// A title, a revision or a time.
    pub reference: PastRef,
}

/// What a restore came to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RestoredAll {
    /// Each repository, by name.
    pub restored: Vec<Restored>,
}

impl Operation for SnapshotRestore {
    type Reply = RestoredAll;

    const SPEC: Spec = Spec::new(
        "snapshot-restore",
        Verb::Make,
        "/snapshot/restore",
        Action::RepoAdmin,
    )
    .about("Makes repositories show again what they showed, all at once");

    fn concerns(&self) -> Concerns {
        below(&self.of)
    }

    async fn run(self, ctx: &Ctx) -> Result<RestoredAll, Fault> {
        let repos = &ctx.app.repos;
        let done = repos.restore_snapshots(&self.of, self.reference.at(), ctx.who());
        Ok(RestoredAll {
            restored: done.await?,
        })
    }
}
