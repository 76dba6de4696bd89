//! `dryport gc`.

use super::exit::Failure;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::RegistryArgs;
use crate::app;
use crate::app::ops::{FaultKind, GcSurvey, GcSweep, Slow};
use crate::config::Config;
use crate::gc::Report;
use crate::jobs::JobView;
use crate::repo::reclaim::Survey;
use crate::store::Compacted;
use clap::Args;

/// Repositories that the dry run names; the rest is summed up.
const SHOWN: usize = 40;

/// Remove what nothing needs any more, now
///
/// The server does this by itself all the time (setting gc.interval). What was uploaded lately (blobs.lease) and what
/// was removed lately (history.keep) is kept. A sweep that is already running is waited for.
///
/// Content of up to 64 KiB lies in the database, which keeps the room of what went for what comes. --compact gives it
/// back to the disk.
#[derive(Debug, Args)]
pub(super) struct Gc {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Change nothing; say what would go, and what each repository alone holds
    #[arg(long, conflicts_with = "purge_history")]
    dry_run: bool,
    /// Forget all history: removed tags and untagged manifests go at once and cannot be restored
    #[arg(long)]
    purge_history: bool,
    /// Then shorten the database by what it has free; no server may be running
    #[arg(long, conflicts_with_all = ["dry_run", "server"])]
    compact: bool,
    #[command(flatten)]
    format: OutputFormat,
}

impl Gc {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if !self.compact {
            let session = self.registry.session("gc").await?;
            let done = self.with(&session).await;
            session.close().await;
            return done;
        }
        let dir = self.registry.enter()?;
        if CommandSession::running(&dir).await?.is_some() {
            return Err(served(&dir.config));
        }
        let session = CommandSession::open(&dir, "gc").await?;
        let swept = self.sweep(&session).await;
        session.close().await;
        let Slow::Done(gc) = swept? else {
            return Err(Failure::failed("the sweep was left to a job"));
        };
        if !self.format.json {
            output::print(&report_text(&gc))?;
        }
        // What was swept is told whatever becomes of the rest.
        let (database, ended) = match compact(dir).await {
            Ok(done) => (Some(done), Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        if self.format.json {
            output::json(&Done { gc, database })?;
        } else if let Some(done) = database {
            output::print(&compacted_text(done))?;
        }
        ended
    }

    async fn with(&self, session: &CommandSession) -> Result<(), Failure> {
        if self.dry_run {
            return self.survey(session).await;
        }
        match self.sweep(session).await? {
            Slow::Done(gc) if self.format.json => output::json(&gc),
            Slow::Done(gc) => output::print(&report_text(&gc)),
            Slow::Job(job) if self.format.json => output::json(&job),
            Slow::Job(job) => output::print(&left_text(&job)),
        }
    }

    async fn survey(&self, session: &CommandSession) -> Result<(), Failure> {
        let survey = session.quick(GcSurvey {}).await?;
        if self.format.json {
            output::json(&survey)
        } else {
            output::print(&survey_text(&survey))
        }
    }

    async fn sweep(&self, session: &CommandSession) -> Result<Slow<Report>, Failure> {
        let purge_history = self.purge_history;
        session.quick(GcSweep { purge_history }).await
    }
}

/// What is printed for machines.
#[derive(Debug, serde::Serialize)]
struct Done {
    #[serde(flatten)]
    gc: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<Compacted>,
}

fn served(config: &Config) -> Failure {
    Failure::new(
        FaultKind::State,
        format!(
            "a server is running on {}, and the database can only be made shorter while nobody uses it. Stop the server, say this again, and start it; without --compact it may run",
            config.data.display()
        ),
    )
}

async fn compact(dir: app::Entered) -> Result<Compacted, Failure> {
    let done = tokio::task::spawn_blocking(move || app::compact(&dir)).await;
    Ok(done.map_err(Failure::failed)??)
}

fn compacted_text(done: Compacted) -> String {
    format!(
        "The database has {}, it had {}.",
        output::size(done.after),
        output::size(done.before),
    )
}

fn left_text(job: &JobView) -> String {
    format!("Job {} sweeps on the server.", job.id)
}

fn report_text(report: &Report) -> String {
    let rows = &report.rows;
    format!(
        "Freed {} blobs ({}), {} content files removed.\nEnded: {} untagged manifests, {} lists of referrers, {} rows of history.\nKept: {} blobs by a lease, {} removed or untagged by the history.",
        rows.freed_blobs,
        output::size(rows.freed_bytes),
        report.files_removed,
        rows.manifests_removed,
        rows.lists_removed,
        rows.history_dropped,
        rows.kept_by_lease,
        rows.kept_by_history,
    )
}

fn survey_text(survey: &Survey) -> String {
    let head = format!(
        "{} blobs: nothing needs {} of them ({}), only a lease keeps {}, only the history keeps {}.\n{} attestations and other parts of images that no index lists any more end after their leases.\n",
        survey.examined,
        survey.freed_blobs,
        output::size(survey.freed_bytes),
        survey.kept_by_lease,
        survey.kept_by_history,
        survey.unlisted,
    );
    let row = |h: &crate::repo::reclaim::Holding| {
        vec![
            h.name.clone(),
            h.blobs.to_string(),
            output::size(h.bytes),
            output::size(h.past_bytes),
        ]
    };
    let rows: Vec<_> = survey.only_here.iter().take(SHOWN).map(row).collect();
    let table = output::table(&["REPOSITORY", "ONLY HERE", "SIZE", "OF THAT PAST"], &rows);
    let more = survey.only_here.len().saturating_sub(SHOWN);
    let tail = match more {
        0 => String::new(),
        more => format!("\n... and {more} more repositories (--json lists all)"),
    };
    format!("{head}\n{table}{tail}")
}
