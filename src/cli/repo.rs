//! `dryport repo`.

use super::exit::Failure;
use super::output::{self, Format};
use super::session::{Session, unexpected};
use super::settings::Place;
use crate::app::control::{Reply, Request};
use crate::repo::{Origin, RepoView};
use clap::{Args, Subcommand};

/// List, show or delete repositories
#[derive(Debug, Subcommand)]
pub(super) enum RepoCommand {
    /// List all repositories
    List(List),
    /// Show one repository
    Show(Named),
    /// Change a repository's settings
    Set(Set),
    /// Delete a repository with all its tags and their history. There is no way back
    Delete(Delete),
}

/// Arguments of `repo list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// Arguments of `repo show`.
#[derive(Debug, Args)]
pub(super) struct Named {
    #[command(flatten)]
    place: Place,
    /// The repository, for example team/app
    name: String,
    #[command(flatten)]
    format: Format,
}

/// Arguments of `repo set`.
#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    place: Place,
    /// The repository, for example team/app
    name: String,
    /// How long removed tags and untagged manifests stay restorable, for example 90d; `default` follows the configuration
    #[arg(long, value_name = "TIME", value_parser = keep)]
    history_keep: Keep,
}

/// A time in milliseconds, or none for what is configured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep(Option<u64>);

fn keep(text: &str) -> Result<Keep, String> {
    if text == "default" {
        return Ok(Keep(None));
    }
    crate::config::duration_ms(text).map(|ms| Keep(Some(ms)))
}

/// Arguments of `repo delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    place: Place,
    /// The repository, for example team/app
    name: String,
}

impl RepoCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let place = match &self {
            Self::List(List { place, .. })
            | Self::Show(Named { place, .. })
            | Self::Set(Set { place, .. })
            | Self::Delete(Delete { place, .. }) => place,
        };
        let session = Session::open(&place.enter()?, "repo").await?;
        let done = self.with(&session).await;
        session.close().await;
        done
    }

    async fn with(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let repos = all(session).await?;
                if list.format.json {
                    output::json(&repos)
                } else {
                    output::print(&lines(&repos))
                }
            }
            Self::Show(Named { name, format, .. }) => {
                let Reply::Repo(repo) = session.quick(Request::RepoShow { name }).await? else {
                    return Err(unexpected());
                };
                if format.json {
                    output::json(&repo)
                } else {
                    output::print(&one(&repo))
                }
            }
            Self::Set(set) => {
                let (name, keep_ms) = (set.name, set.history_keep.0);
                let text = format!("Changed {name}");
                session.quick(Request::RepoKeep { name, keep_ms }).await?;
                output::print(&text)
            }
            Self::Delete(Delete { name, .. }) => {
                session
                    .quick(Request::RepoDelete { name: name.clone() })
                    .await?;
                output::print(&format!(
                    "Deleted {name}. Its bytes are freed in the background."
                ))
            }
        }
    }
}

async fn all(session: &Session) -> Result<Vec<RepoView>, Failure> {
    let mut found: Vec<RepoView> = Vec::new();
    loop {
        let after = found.last().map(|r| r.name.clone());
        let Reply::Repos { repos, more } = session.quick(Request::RepoList { after }).await? else {
            return Err(unexpected());
        };
        let end = repos.is_empty() || !more;
        found.extend(repos);
        if end {
            return Ok(found);
        }
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Mirror => "mirror",
    }
}

fn lines(repos: &[RepoView]) -> String {
    let row = |r: &RepoView| {
        vec![
            r.name.clone(),
            origin(r.origin).to_owned(),
            r.tags.to_string(),
            r.manifests.to_string(),
            output::size(r.bytes),
        ]
    };
    let rows: Vec<_> = repos.iter().map(row).collect();
    output::table(
        &["REPOSITORY", "ORIGIN", "TAGS", "MANIFESTS", "SIZE"],
        &rows,
    )
}

fn one(repo: &RepoView) -> String {
    format!(
        "Repository  {}\nOrigin      {}\nRevision    {} (readable from {})\nTags        {}\nManifests   {}\nSize        {}\n",
        repo.name,
        origin(repo.origin),
        repo.rev.0,
        repo.horizon.0,
        repo.tags,
        repo.manifests,
        output::size(repo.bytes)
    )
}
