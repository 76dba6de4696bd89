//! `dryport tag`.

use super::exit::Failure;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::RegistryArgs;
use crate::app::ops::{TagDelete, TagHistory, TagList, TagRestore};
use crate::repo::TagChange;
use crate::types::{RepoName, Rev, Tag};
use clap::{Args, Subcommand};

/// List tags, show what a tag has meant, or delete one
#[derive(Debug, Subcommand)]
pub(super) enum TagCommand {
    /// List the tags of a repository
    List(List),
    /// Show what a tag has meant and who moved it, newest first
    History(One),
    /// Make a tag mean again what it meant before, with all that has been removed since
    Restore(Restore),
    /// Delete a tag; the image stays reachable by its digest
    Delete(Delete),
}

/// Arguments of `tag list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The repository, for example team/app
    repo: String,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `tag history`.
#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Repository and tag
    #[arg(value_name = "REPO:TAG")]
    image: Image,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `tag delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Repository and tag
    #[arg(value_name = "REPO:TAG")]
    image: Image,
}

/// Arguments of `tag restore`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("when").required(true)))]
pub(super) struct Restore {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Repository and tag
    #[arg(value_name = "REPO:TAG")]
    image: Image,
    /// A revision at which the tag meant what is wanted, as `tag history` shows it
    #[arg(long, group = "when")]
    rev: Option<u64>,
    /// A time at which it did, for example 2026-11-01T12:00:00Z
    #[arg(long, value_name = "TIME", group = "when")]
    at: Option<jiff::Timestamp>,
    #[command(flatten)]
    format: OutputFormat,
}

/// `REPO:TAG`; both are checked by whoever does the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) repo: String,
    pub(super) tag: String,
}

impl Image {
    fn parsed(&self) -> Result<(RepoName, Tag), Failure> {
        Ok((self.repo.parse()?, self.tag.parse()?))
    }
}

impl std::str::FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((repo, tag)) if !repo.is_empty() && !tag.is_empty() && !tag.contains('/') => {
                Ok(Self {
                    repo: repo.to_owned(),
                    tag: tag.to_owned(),
                })
            }
            _ => Err("write repository and tag as REPO:TAG, for example team/app:1.0".to_owned()),
        }
    }
}

impl TagCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let registry = match &self {
            Self::List(List { registry, .. })
            | Self::History(One { registry, .. })
            | Self::Restore(Restore { registry, .. })
            | Self::Delete(Delete { registry, .. }) => registry,
        };
        let session = registry.session("tag").await?;
        let done = self.with(&session).await;
        session.close().await;
        done
    }

    async fn with(self, session: &CommandSession) -> Result<(), Failure> {
        match self {
            Self::List(List { repo, format, .. }) => list(session, repo, format).await,
            Self::History(One { image, format, .. }) => {
                let (repo, tag) = image.parsed()?;
                let changes = session.quick(TagHistory { repo, tag }).await?.changes;
                if format.json {
                    output::json(&changes)
                } else {
                    output::print(&lines(&changes))
                }
            }
            Self::Restore(restore) => restored(session, restore).await,
            Self::Delete(Delete { image, .. }) => {
                let (repo, tag) = image.parsed()?;
                let text = format!("Deleted {repo}:{tag}");
                session.quick(TagDelete { repo, tag }).await?;
                output::print(&text)
            }
        }
    }
}

async fn restored(session: &CommandSession, restore: Restore) -> Result<(), Failure> {
    let (repo, tag) = restore.image.parsed()?;
    let image = format!("{repo}:{tag}");
    let at_ms = restore
        .at
        .map(|at| at.as_millisecond().max(0).unsigned_abs());
    let operation = TagRestore {
        repo,
        tag,
        rev: restore.rev.map(Rev),
        at_ms,
    };
    let digest = session.quick(operation).await?.digest;
    if restore.format.json {
        output::json(&serde_json::json!({ "image": image, "digest": digest }))
    } else {
        output::print(&format!("{image} means {digest} again"))
    }
}

/// Text is printed page by page, so that a million tags need no memory; JSON is one array.
async fn list(session: &CommandSession, repo: String, format: OutputFormat) -> Result<(), Failure> {
    let repo = repo.parse::<RepoName>()?;
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let repo = repo.clone();
        let page = session.quick(TagList { repo, after }).await?;
        after = page.next;
        if format.json {
            all.extend(page.tags);
        } else if !page.tags.is_empty() {
            let tags: Vec<_> = page.tags.iter().map(Tag::as_str).collect();
            output::print(&tags.join("\n"))?;
        }
        if after.is_none() {
            return if format.json {
                output::json(&all)
            } else {
                Ok(())
            };
        }
    }
}

fn lines(changes: &[TagChange]) -> String {
    let row = |c: &TagChange| {
        vec![
            c.rev.0.to_string(),
            output::time(c.at_ms),
            c.who.clone(),
            c.digest
                .map_or_else(|| "(removed)".to_owned(), |d| d.to_string()),
        ]
    };
    let rows: Vec<_> = changes.iter().map(row).collect();
    output::table(&["REV", "TIME", "WHO", "DIGEST"], &rows)
}
