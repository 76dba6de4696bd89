//! `repo-create`.

use crate::app::ops::{Concerns, Ctx, Done, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::{Kind, RepoName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes an empty repository.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepoCreate {
    /// The repository.
    pub name: RepoName,
    /// What it is to hold.
    pub kind: Kind,
}

impl Operation for RepoCreate {
    type Reply = Done;

    const SPEC: Spec = Spec::new("repo-create", Verb::Make, "/repos", Action::RepoAdmin)
        .about("Makes an empty repository");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.name.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        ctx.app
            .repos
            .create(&self.name, self.kind, ctx.who())
            .await?;
        Ok(Done {})
    }
}
