//! `repo-list`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::repo::{RepoError, RepoView};
use crate::types::PageRequest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of the repositories that the caller may see, by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepoList {
    /// Names strictly after this one.
    #[serde(default)]
    pub after: Option<String>,
}

/// One page of repositories.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RepoPage {
    /// The page. It may be short, and not the last.
    pub repos: Vec<RepoView>,
    /// After which name the next page goes on, if there may be one.
    pub next: Option<String>,
}

impl Operation for RepoList {
    type Reply = RepoPage;

    const SPEC: Spec = Spec::new("repo-list", Verb::Read, "/repos", Action::Catalog)
        .about("One page of the repositories that the caller may see, by name");

    async fn run(self, ctx: &Ctx) -> Result<RepoPage, Fault> {
        let (mut repos, mut next) = (Vec::new(), self.after);
        loop {
            let page = ctx
                .app
                .repos
                .names(None, next.as_deref(), PageRequest::MAX)
                .await?;
            for name in &page.names {
                if !ctx.sees(name).await? {
                    continue;
                }
                match ctx.app.repos.view(name).await {
                    Ok(view) => repos.push(view),
                    // Deleted between the two reads.
                    Err(RepoError::NameUnknown(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            next = page.next;
            if next.is_none() || !repos.is_empty() {
                break;
            }
        }
        // Where the search stands may be a name that the caller may not know: the next page begins after one that is shown.
        let next = next.and_then(|_| repos.last().map(|last| last.name.clone()));
        Ok(RepoPage { repos, next })
    }
}
