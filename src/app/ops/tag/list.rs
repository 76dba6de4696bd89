//! `tag-list`.

use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::At;
use crate::types::{PageRequest, RepoName, Tag};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a repository's tags, in order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagList {
    /// The repository.
    pub repo: RepoName,
    /// Tags strictly after this one.
    #[serde(default)]
    pub after: Option<String>,
}

/// One page of tags.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TagNames {
    /// The page.
    pub tags: Vec<Tag>,
    /// After which tag the next page goes on, if there is one.
    pub next: Option<String>,
}

impl Operation for TagList {
    type Reply = TagNames;

    const SPEC: Spec = Spec::new("tag-list", Verb::Read, "/tags", Action::RepoList)
        .about("One page of a repository's tags, in order");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.repo.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<TagNames, Fault> {
        let page = PageRequest {
            n: None,
            last: self.after,
        };
        let found = ctx.app.repos.tags(&self.repo, &At::Head, &page).await?;
        Ok(TagNames {
            tags: found.tags,
            next: found.next,
        })
    }
}
