//! `dryport quota`.

use super::exit::Failure;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::RegistryArgs;
use crate::app::ops::{QuotaList, QuotaRemove, QuotaSet};
use crate::repo::QuotaView;
use clap::{Args, Subcommand};

/// Limit how much repositories may hold
///
/// Counted is what is visible now and what was uploaded lately, each digest once below the prefix; the history is not.
/// A push that would go over it is refused with 403 and says how much is needed and how much is free.
#[derive(Debug, Subcommand)]
pub(super) enum QuotaCommand {
    /// Set the quota of all repositories below a prefix; what is there already stays
    Set(Set),
    /// List all quotas and how much of them is used
    List(List),
    /// Remove a quota
    Remove(Remove),
}

/// Arguments of `quota set`.
#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Prefix of repository names, for example team (holds for team/app, not for teammate); `/` is the whole registry
    prefix: String,
    /// Bytes, for example 50GiB
    #[arg(value_parser = crate::config::size_bytes)]
    size: u64,
    /// Bytes that removed content may keep beside what is shown: the oldest goes first [default: as large as the quota]
    #[arg(long, value_name = "SIZE", value_parser = crate::config::size_bytes)]
    history: Option<u64>,
}

/// Arguments of `quota list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `quota remove`.
#[derive(Debug, Args)]
pub(super) struct Remove {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The prefix, as `quota list` shows it
    prefix: String,
}

impl QuotaCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let registry = match &self {
            Self::Set(Set { registry, .. })
            | Self::List(List { registry, .. })
            | Self::Remove(Remove { registry, .. }) => registry,
        };
        let session = registry.session("quota").await?;
        let done = self.with(&session).await;
        session.close().await;
        done
    }

    async fn with(self, session: &CommandSession) -> Result<(), Failure> {
        match self {
            Self::Set(Set {
                prefix,
                size,
                history,
                ..
            }) => {
                let text = format!(
                    "Quota on {prefix}: {}, and {} of history",
                    output::size(size),
                    output::size(history.unwrap_or(size))
                );
                let operation = QuotaSet {
                    prefix: prefix.parse()?,
                    limit: size,
                    history,
                };
                session.quick(operation).await?;
                output::print(&text)
            }
            Self::Remove(Remove { prefix, .. }) => {
                let text = format!("No quota on {prefix} any more");
                let prefix = prefix.parse()?;
                session.quick(QuotaRemove { prefix }).await?;
                output::print(&text)
            }
            Self::List(List { format, .. }) => {
                let quotas = session.quick(QuotaList {}).await?.quotas;
                if format.json {
                    output::json(&quotas)
                } else {
                    output::print(&lines(&quotas))
                }
            }
        }
    }
}

fn lines(quotas: &[QuotaView]) -> String {
    let row = |q: &QuotaView| {
        let prefix = if q.prefix.is_empty() { "/" } else { &q.prefix };
        let state = if q.counting { "counting" } else { "" };
        vec![
            prefix.to_owned(),
            output::size(q.limit),
            output::size(q.used),
            output::size(q.uploads),
            output::size(q.history),
            output::size(q.history_limit),
            state.to_owned(),
        ]
    };
    let rows: Vec<_> = quotas.iter().map(row).collect();
    output::table(
        &[
            "PREFIX", "QUOTA", "SHOWN", "UPLOADS", "HISTORY", "AT MOST", "",
        ],
        &rows,
    )
}
