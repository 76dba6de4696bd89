//! `snapshot-create`.

use super::below;
use crate::app::ops::PastRef;
use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::{At, NewSnapshot, SnapshotView};
use crate::types::{RepoPattern, Title};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes snapshots of a repository, or of all that a pattern names, in one cut.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// A repository, or a pattern of names.
    pub of: RepoPattern,
    /// As of when; none: now.
    #[serde(default)]
    pub at: Option<PastRef>,
    /// The title; none: the day.
    #[serde(default)]
    pub title: Option<Title>,
    /// After how much running time it ends (ms).
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// It cannot be deleted until that is taken back.
    #[serde(default)]
    pub held: bool,
}

/// Snapshots that were made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Snapshots {
    /// They, by repository.
    pub snapshots: Vec<SnapshotView>,
}

impl Operation for SnapshotCreate {
    type Reply = Snapshots;

    const SPEC: Spec = Spec::new(
        "snapshot-create",
        Verb::Make,
        "/snapshots",
        Action::RepoAdmin,
    )
    .about("Makes snapshots of a repository, or of all that a pattern names, in one cut");

    fn concerns(&self) -> Concerns {
        below(&self.of)
    }

    async fn run(self, ctx: &Ctx) -> Result<Snapshots, Fault> {
        let new = NewSnapshot {
            of: self.of,
            at: self.at.map_or(At::Head, |at| at.at().clone()),
            title: self.title,
            expires_ms: self.expires_ms,
            held: self.held,
            who: ctx.who().to_owned(),
        };
        let snapshots = ctx.app.repos.create_snapshots(new).await?;
        Ok(Snapshots { snapshots })
    }
}
