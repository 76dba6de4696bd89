//! `tag-restore`.

use crate::app::ops::{Concerns, Ctx, Fault, Operation, Spec, Verb};
use crate::auth::Action;
use crate::types::{Digest, RepoName, Rev, Tag};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Makes a tag mean again what it meant at a revision, or at a time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagRestore {
    /// The repository.
    pub repo: RepoName,
    /// The tag.
    pub tag: Tag,
    /// The revision; or else the time.
    #[serde(default)]
    pub rev: Option<Rev>,
    /// The time: the newest revision by then (wall clock, ms).
    #[serde(default)]
    pub at_ms: Option<u64>,
}

/// What a tag means again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TagRestored {
    /// The digest.
    pub digest: Digest,
}

impl Operation for TagRestore {
    type Reply = TagRestored;

    const SPEC: Spec = Spec::new("tag-restore", Verb::Make, "/tag/restore", Action::TagWrite)
        .about("Makes a tag mean again what it meant at a revision, or at a time");

    fn concerns(&self) -> Concerns {
        Concerns::Repo(self.repo.clone())
    }

    async fn run(self, ctx: &Ctx) -> Result<TagRestored, Fault> {
        let repos = &ctx.app.repos;
        let rev = match (self.rev, self.at_ms) {
            (Some(rev), None) => rev,
            (None, Some(at_ms)) => repos.rev_at(&self.repo, at_ms).await?,
            _ => return Err(Fault::usage("name either a revision or a time")),
        };
        let digest = repos.restore_tag(&self.repo, &self.tag, rev, ctx.who());
        Ok(TagRestored {
            digest: digest.await?,
        })
    }
}
