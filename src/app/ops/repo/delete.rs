//! `repo-delete`.

use crate::app::ops::{Concerns, Ctx, Done, Fault, Operation, Spec, Verb};
use crate::app::runner::{DeleteTask, Task};
use crate::auth::Action;
use crate::repo::Deleted;
use crate::types::RepoName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Deletes a repository with all that it holds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepoDelete {
    /// The repository.
    pub name: RepoName,
    /// Its snapshots go with it.
    #[serde(default)]
    pub with_snapshots: bool,
}

/// Leaves what a deleted repository has left to a job. Where its row cannot be written, the collector does it in its time.
async fn leave_to_a_job(ctx: &Ctx, name: String, deleted: Deleted) {
    let task = Task::Delete(DeleteTask { name, deleted });
    let runner = &ctx.app.runner;
    // It does not wait for a place of the queue, which copies may have for hours.
    let left = if runner.serves() {
        runner.start(&ctx.app, task, ctx.who()).await.map(drop)
    } else {
        runner.queue(&task, ctx.who()).await.map(drop)
    };
    if let Err(error) = left {
        tracing::warn!(%error, "the rows of a deleted repository go without a job that shows it");
    }
}

impl Operation for RepoDelete {
    type Reply = Done;

    const SPEC: Spec = Spec::new("repo-delete", Verb::Remove, "/repo", Action::RepoAdmin)
        .about("Deletes a repository with all that it holds");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.name.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<Done, Fault> {
        let (repos, who) = (&ctx.app.repos, ctx.who());
        let deleted = repos.delete(&self.name, who, self.with_snapshots).await?;
        leave_to_a_job(ctx, self.name.to_string(), deleted).await;
        Ok(Done {})
    }
}
