//! `dryport gc`.

use super::exit::Failure;
use super::output::{self, Format};
use super::session::{Session, unexpected};
use super::settings::Place;
use crate::app::control::{Reply, Report, Request, Survey};
use clap::Args;

/// Repositories that the dry run names; the rest is summed up.
const SHOWN: usize = 40;

/// Remove what nothing needs any more, now
///
/// The server does this by itself all the time (setting gc.interval). What was uploaded lately (blobs.lease) and what
/// was removed lately (history.keep) is kept. A sweep that is already running is waited for.
#[derive(Debug, Args)]
pub(super) struct Gc {
    #[command(flatten)]
    place: Place,
    /// Change nothing; say what would go, and what each repository alone holds
    #[arg(long, conflicts_with = "purge_history")]
    dry_run: bool,
    /// Forget all history: removed tags and untagged manifests go at once and cannot be restored
    #[arg(long)]
    purge_history: bool,
    #[command(flatten)]
    format: Format,
}

impl Gc {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let session = Session::open(&self.place.load()?.config, "gc").await?;
        let done = self.with(&session).await;
        session.close().await;
        done
    }

    async fn with(&self, session: &Session) -> Result<(), Failure> {
        if self.dry_run {
            let Reply::Survey(survey) = session.quick(Request::GcSurvey).await? else {
                return Err(unexpected());
            };
            return if self.format.json {
                output::json(&survey)
            } else {
                output::print(&survey_text(&survey))
            };
        }
        let purge_history = self.purge_history;
        let Reply::Swept(report) = session.quick(Request::Gc { purge_history }).await? else {
            return Err(unexpected());
        };
        if self.format.json {
            output::json(&report)
        } else {
            output::print(&report_text(&report))
        }
    }
}

fn report_text(report: &Report) -> String {
    let rows = &report.rows;
    format!(
        "Freed {} blobs ({}), {} content files removed.\nEnded: {} untagged manifests, {} rows of history.\nKept: {} blobs by a lease, {} removed or untagged by the history.",
        rows.freed_blobs,
        output::size(rows.freed_bytes),
        report.files_removed,
        rows.manifests_removed,
        rows.history_dropped,
        rows.kept_by_lease,
        rows.kept_by_history,
    )
}

fn survey_text(survey: &Survey) -> String {
    let head = format!(
        "{} blobs: nothing needs {} of them ({}), only a lease keeps {}, only the history keeps {}.\n",
        survey.examined,
        survey.freed_blobs,
        output::size(survey.freed_bytes),
        survey.kept_by_lease,
        survey.kept_by_history,
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
