//! `dryport check`.

use super::exit::Failure;
use super::help::flow;
use super::hints;
use super::output::{self, OutputFormat};
use super::progress::Checking;
use super::session::CommandSession;
use super::settings::{self, DataLocation};
use crate::app::ops::{self, FaultKind, News, Progress, Refetch, Refetched};
use crate::fetch::credentials;
use crate::gc::check::{CheckReport, CheckRequest};
use crate::types::Remedy;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Problems that are printed for people; --json lists more.
const SHOWN: usize = 200;

const HELP: &str = "\
Looks at every row and every file; --deep reads all bytes as well, at most check.rate a second (--fast: as fast
as the disk gives). An interrupted --deep goes on where it was. The running server does the work; without one
this command does it itself. On healthy data nothing is written, with --repair neither.

--repair writes again what can be computed, moves what is damaged or foreign to DIR/quarantine/, and fetches
damaged contents from the registry they were mirrored from, with your credentials for it (`docker login`). What
was pushed must be pushed again: the server asks for it as if it were not there. Nothing is guessed.

Exit codes: 0 nothing is wrong (or nothing any more), 4 damage is left.";

/// Check all data, and repair it
#[derive(Debug, Args)]
#[command(after_help = flow(HELP))]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(super) struct Check {
    #[command(flatten)]
    place: DataLocation,
    /// Read all bytes of all blobs and compare them with their digests
    #[arg(long)]
    deep: bool,
    /// Repair what can be repaired
    #[arg(long)]
    repair: bool,
    /// Read as fast as the disk gives instead of check.rate
    #[arg(long)]
    fast: bool,
    /// Fetch over plain HTTP where a registry has nothing else (loopback and localhost need no permission)
    #[arg(long, requires = "repair")]
    plain_http: bool,
    /// Trust this certificate (PEM) beside the system's CAs: a CA's, or the very one that the server has when fetching
    #[arg(long, value_name = "FILE", requires = "repair")]
    ca: Option<PathBuf>,
    /// Go to this host too when a registry leads there (blobs elsewhere, a token service), although its address is this
    /// machine's, link-local or unique-local; may be given several times
    #[arg(long, value_name = "HOST[:PORT]", requires = "repair")]
    allow_host: Vec<String>,
    /// Read credentials from this file of docker's config.json form instead of your own
    #[arg(long, value_name = "FILE", requires = "repair")]
    creds_file: Option<PathBuf>,
    #[command(flatten)]
    format: OutputFormat,
}

impl Check {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let ca_pem = match &self.ca {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|e| Failure::usage(format!("--ca {}: {e}", path.display())))?,
            ),
        };
        let loaded = self.place.load()?;
        // As the user who typed the command, who may be another one than whose the data is.
        let logins = Arc::new(credentials::CredentialFiles::read(
            self.creds_file.as_deref(),
        ));
        let session = CommandSession::open(&settings::enter(loaded)?.for_check(), "check").await?;
        let stop = CancellationToken::new();
        let bar = Arc::new(Checking::new(self.format.json));
        let (stopped, clears) = (stop.clone(), bar.clone());
        let interrupt = tokio::spawn(async move {
            super::mirror::cancel_on_signal(stopped, || clears.finish()).await;
        });
        let done = self.with(&session, ca_pem, logins, &bar, stop).await;
        bar.finish();
        interrupt.abort();
        session.close().await;
        let report = done?;
        if self.format.json {
            output::json(&report)?;
        } else {
            output::print(&text(&report))?;
        }
        match (report.damage, report.interrupted) {
            (0, false) => Ok(()),
            (0, true) => Err(Failure::failed("interrupted; run it again to go on")),
            (damage, _) => Err(Failure::new(
                FaultKind::Damaged,
                format!("{damage} problems are left"),
            )),
        }
    }

    async fn with(
        &self,
        session: &CommandSession,
        ca_pem: Option<String>,
        files: Arc<credentials::CredentialFiles>,
        bar: &Arc<Checking>,
        stop: CancellationToken,
    ) -> Result<CheckReport, Failure> {
        let bar = bar.clone();
        let news: News = Arc::new(move |now| {
            if let Progress::Check(now) = now {
                bar.hear(&now);
            }
        });
        let check = CheckRequest {
            deep: self.deep,
            repair: self.repair,
            fast: self.fast,
        };
        let check = session.ask(ops::Check { check }, news.clone(), stop.clone());
        let mut report = check.await?;
        let wanted = report.wanted();
        if self.repair && !wanted.is_empty() && !report.interrupted {
            let refetch = Refetch {
                logins: logins(&files, &wanted).await?,
                wanted,
                plain_http: self.plain_http,
                ca_pem,
                allow_hosts: self.allow_host.clone(),
            };
            let done = session.ask(refetch, news, stop).await?;
            note(&mut report, &done.refetched);
        }
        Ok(report)
    }
}

/// The caller's own credentials for the repositories that are to be asked.
async fn logins(
    files: &Arc<credentials::CredentialFiles>,
    wanted: &[(crate::types::Digest, Vec<crate::repo::check::CameFrom>)],
) -> Result<BTreeMap<String, crate::fetch::Credential>, Failure> {
    let (mut logins, mut none) = (BTreeMap::new(), BTreeSet::new());
    for upstream in wanted.iter().flat_map(|(_, upstreams)| upstreams) {
        let of = upstream.repository();
        if logins.contains_key(&of) || none.contains(&of) {
            continue;
        }
        let (files, host, name) = (
            files.clone(),
            upstream.registry.clone(),
            upstream.name.clone(),
        );
        // Credential helpers are programs: they may take a while.
        let found = tokio::task::spawn_blocking(move || files.lookup(&host, &name))
            .await
            .map_err(Failure::failed)?
            .map_err(Failure::failed)?;
        match found {
            Some(login) => drop(logins.insert(of, login)),
            None => drop(none.insert(of)),
        }
    }
    Ok(logins)
}

/// Notes in the report what was fetched again, and what could not be.
fn note(report: &mut CheckReport, done: &[Refetched]) {
    for problem in report.problems.iter_mut().filter(|p| !p.repaired) {
        let Some(one) = done.iter().find(|d| problem.digest == Some(d.digest)) else {
            continue;
        };
        if let Some(from) = &one.from {
            (problem.repaired, problem.remedy) = (true, None);
            problem.how = format!("fetched again from {from}");
        } else if let Some(error) = &one.error {
            let text = hints::with_switches(error.clone(), one.remedy.as_ref(), hints::CHECK);
            problem.how = format!("{}; fetching it again failed: {text}", problem.how);
        }
    }
    report.sum_up();
}

fn text(report: &CheckReport) -> String {
    let mut lines = Vec::new();
    for problem in report.problems.iter().take(SHOWN) {
        let state = if problem.repaired {
            "repaired"
        } else {
            "PROBLEM"
        };
        lines.push(format!("{state} {}: {}", problem.kind, problem.what));
        if !problem.tags.is_empty() {
            lines.push(format!("         tags: {}", problem.tags.join(", ")));
        }
        if !problem.how.is_empty() {
            // That repairs are there to be asked for is said once.
            let remedy = problem.remedy.as_ref().filter(|r| **r != Remedy::Repair);
            let how = hints::with(problem.how.clone(), remedy);
            lines.push(format!("         {how}"));
        }
    }
    let all: u64 = report.kinds.values().sum();
    let shown = report.problems.len().min(SHOWN) as u64;
    if all > shown {
        lines.push(format!("... and {} more", all - shown));
    }
    let read = if report.deep {
        format!("read {}", output::size(report.bytes_read))
    } else {
        "contents not read (--deep reads them)".to_owned()
    };
    lines.push(format!(
        "Looked at {} rows and {} blobs, {read}.",
        report.rows, report.blobs
    ));
    if report.resumed {
        lines.push("Went on where an earlier check was interrupted.".to_owned());
    }
    if report
        .problems
        .iter()
        .any(|p| p.remedy == Some(Remedy::Repair))
    {
        lines.push("Have repaired what can be repaired: dryport check --repair".to_owned());
    }
    lines.push(match (report.damage, report.repaired) {
        (0, 0) if report.leftovers == 0 => "Nothing is wrong.".to_owned(),
        (0, repaired) => format!(
            "{repaired} problems repaired, {} leftovers of a crash, no damage.",
            report.leftovers
        ),
        (damage, repaired) => format!("Damage: {damage} problems; {repaired} repaired."),
    });
    lines.join("\n")
}
