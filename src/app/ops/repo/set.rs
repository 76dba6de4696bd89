//! `repo-set`.

use crate::app::ops::{Concerns, Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::SettingsChange;
use crate::types::RepoName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Changes settings of a repository.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepoSet {
    /// The repository.
    pub name: RepoName,
    /// What becomes another.
    pub change: SettingsChange,
}

impl Operation for RepoSet {
    type Reply = Done;

    const SPEC: Spec = Spec::new("repo-set", Verb::Set, "/repo", Action::RepoAdmin)
        .about("Changes settings of a repository");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.name.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        ctx.app
            .repos
            .set(&self.name, self.change, ctx.who())
            .await?;
        Ok(Done {})
    }
}
