//! `dryport repo`.

use super::exit::Failure;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::RegistryArgs;
use crate::app::ops::{RepoCreate, RepoDelete, RepoList, RepoSet, RepoShow};
use crate::repo::{HistoryKeep, Origin, RepoView, SettingsChange};
use crate::types::Kind;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

/// List, show or delete repositories
#[derive(Debug, Subcommand)]
pub(super) enum RepoCommand {
    /// List all repositories
    List(List),
    /// Show one repository
    Show(Named),
    /// Make an empty repository
    Create(Create),
    /// Change a repository's settings
    Set(Set),
    /// Delete a repository with all its tags and their history. There is no way back
    Delete(Delete),
}

/// Arguments of `repo list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `repo show`.
#[derive(Debug, Args)]
pub(super) struct Named {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The repository, for example team/app
    name: String,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `repo create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The repository, for example team/tools
    name: String,
    /// What it holds: file, files at paths (`/r/NAME/PATH`); oci, images, which the first push would make as well
    #[arg(long, value_name = "file|oci")]
    kind: Kind,
}

/// Arguments of `repo set`.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("setting").args(["history_keep", "attachments"]).required(true).multiple(true))]
pub(super) struct Set {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The repository, for example team/app
    name: String,
    /// How long removed tags and untagged manifests stay restorable, for example 90d; `default` follows the configuration
    #[arg(long, value_name = "TIME", value_parser = keep)]
    history_keep: Option<HistoryKeep>,
    /// Whether a mirror takes from those who may write there what is attached to its images: signatures, attestations, SBOMs
    #[arg(long, value_name = "on|off")]
    attachments: Option<Switch>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

fn keep(text: &str) -> Result<HistoryKeep, String> {
    if text == "default" {
        return Ok(HistoryKeep::AsConfigured);
    }
    crate::config::duration_ms(text).map(HistoryKeep::Ms)
}

/// Arguments of `repo delete`.
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The repository, for example team/app
    name: String,
    /// Delete its snapshots with it; one that is held never goes
    #[arg(long)]
    with_snapshots: bool,
}

impl RepoCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let registry = match &self {
            Self::List(List { registry, .. })
            | Self::Show(Named { registry, .. })
            | Self::Create(Create { registry, .. })
            | Self::Set(Set { registry, .. })
            | Self::Delete(Delete { registry, .. }) => registry,
        };
        let session = registry.session("repo").await?;
        let done = self.with(&session).await;
        session.close().await;
        done
    }

    async fn with(self, session: &CommandSession) -> Result<(), Failure> {
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
                let name = name.parse()?;
                let repo = session.quick(RepoShow { name }).await?;
                if format.json {
                    output::json(&repo)
                } else {
                    output::print(&one(&repo))
                }
            }
            Self::Create(Create { name, kind, .. }) => {
                let text = match kind {
                    Kind::File => format!("Made {name}. Its files are at /r/{name}/"),
                    Kind::Oci => format!("Made {name}"),
                };
                let name = name.parse()?;
                session.quick(RepoCreate { name, kind }).await?;
                output::print(&text)
            }
            Self::Set(set) => {
                let text = format!("Changed {}", set.name);
                let change = SettingsChange {
                    keep: set.history_keep,
                    attachments: set.attachments.map(|switch| switch == Switch::On),
                };
                let name = set.name.parse()?;
                session.quick(RepoSet { name, change }).await?;
                output::print(&text)
            }
            Self::Delete(Delete {
                name,
                with_snapshots,
                ..
            }) => {
                let delete = RepoDelete {
                    name: name.parse()?,
                    with_snapshots,
                };
                session.quick(delete).await?;
                output::print(&format!(
                    "Deleted {name}. Its bytes are freed in the background."
                ))
            }
        }
    }
}

async fn all(session: &CommandSession) -> Result<Vec<RepoView>, Failure> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = session.quick(RepoList { after }).await?;
        found.extend(page.repos);
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Mirror => "mirror",
        Origin::Cache => "cache",
    }
}

fn lines(repos: &[RepoView]) -> String {
    let row = |r: &RepoView| {
        vec![
            r.name.clone(),
            r.kind.map_or("unknown", Kind::word).to_owned(),
            origin(r.origin).to_owned(),
            r.tags.to_string(),
            r.manifests.to_string(),
            r.files.to_string(),
            output::size(r.bytes),
        ]
    };
    let rows: Vec<_> = repos.iter().map(row).collect();
    output::table(
        &[
            "REPOSITORY",
            "KIND",
            "ORIGIN",
            "TAGS",
            "MANIFESTS",
            "FILES",
            "SIZE",
        ],
        &rows,
    )
}

fn one(repo: &RepoView) -> String {
    let attachments = match repo.attachments {
        Some(true) => "Attachments on\n",
        Some(false) => "Attachments off\n",
        None => "",
    };
    let holds = match repo.kind {
        Some(Kind::File) => format!("Files       {}", repo.files),
        _ => format!("Tags        {}\nManifests   {}", repo.tags, repo.manifests),
    };
    format!(
        "Repository  {}\nKind        {}\nOrigin      {}\nRevision    {} (readable from {})\n{holds}\nSize        {}\n{attachments}",
        repo.name,
        repo.kind.map_or("unknown", Kind::word),
        origin(repo.origin),
        repo.rev.0,
        repo.horizon.0,
        output::size(repo.bytes)
    )
}
