//! `dryport mirror`.

use super::exit::{Exit, Failure};
use super::help::flow;
use super::output::{self, OutputFormat};
use super::progress;
use super::session::CommandSession;
use super::settings::RegistryArgs;
use super::timing::{self, Timing};
use crate::app::ops::{FaultKind, JobCancel, MirrorJob, Progress, ScheduleMirror, Slow};
use crate::fetch::credentials;
use crate::jobs::Schedule;
use crate::mirror::MirrorReport;
use clap::Args;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

const HELP: &str = "\
Copies everything that belongs to the image: all platforms, signatures, attached documents. Nothing is
visible before all of it is here. Run the command again to go on after a break: what is here is not
fetched twice. The running server does the work, as a job (`dryport job`): it goes on if the connection to this
command breaks, and the same command listens to it again. An interrupt (Ctrl-C) of the command that began it ends it. Without a server this
command does the work itself.

The image itself must be whole. What is attached to it (signatures, attestations, SBOMs) and cannot be read is
left out and named; the command then ends with exit code 6, after the image is here.

Credentials are yours: those of `docker login` (or `podman login`) for the other registry. They are used
for this run only, and neither stored nor logged.

With --every or --cron the server makes the copy again and again (`dryport job schedules`), each time as a job. Such
copies run without you: they may need no credentials and no certificate of your own. Times that pass while no server
runs count once, as soon as one does.

Examples:
  dryport mirror docker://docker.io/library/alpine:3.22
  dryport mirror docker://quay.io/team/app:1.0 --to team/app --platform linux/amd64
  dryport mirror docker://registry.local:5000/app@sha256:... --ca registry-ca.crt
  dryport mirror docker://quay.io/team/app:1.0 --every 6h --jitter 10m
  dryport mirror docker://quay.io/team/app:1.0 --cron '0 3 * * *' --zone Europe/Berlin";

/// Copy an image with everything that belongs to it from another registry
#[derive(Debug, Args)]
#[command(after_help = flow(HELP))]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(super) struct Mirror {
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
    /// The image, by tag or digest
    #[arg(value_name = "docker://HOST/NAME[:TAG|@DIGEST]")]
    pub(super) source: String,
    /// Name of the repository here [default: HOST/NAME, with HOST-PORT for a port]
    #[arg(long, value_name = "NAME")]
    pub(super) to: Option<String>,
    /// Only this platform, for example linux/arm64 (a Zarf package has multi/amd64); may be given several times
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Vec<String>,
    /// Warn where the image lacks one of several platforms asked for, or has another one only, instead of failing
    #[arg(long, requires = "platform")]
    pub(super) allow_missing_platform: bool,
    /// Talk plain HTTP to the other registry (loopback and localhost need no permission)
    #[arg(long)]
    pub(super) plain_http: bool,
    /// Trust this certificate (PEM) beside the system's CAs: a CA's, or the very one that the server has
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Do not check the other registry's certificate
    #[arg(long)]
    pub(super) insecure: bool,
    /// Give the credentials to this token service, too, though it is not of the registry's own domain; may be given
    /// several times
    #[arg(long, value_name = "HOST")]
    pub(super) realm: Vec<String>,
    /// Go to this host too when the registry leads there (blobs elsewhere, a token service), although its address is this
    /// machine's, link-local or unique-local; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) allow_host: Vec<String>,
    /// End with exit code 0 although signatures or other documents attached to the image could not be read
    #[arg(long)]
    pub(super) allow_missing_evidence: bool,
    /// Read credentials from this file of docker's config.json form instead of your own
    #[arg(long, value_name = "FILE")]
    pub(super) creds_file: Option<PathBuf>,
    /// Use no credentials, even if there are some for the other registry
    #[arg(long, conflicts_with = "creds_file")]
    pub(super) anonymous: bool,
    /// Leave the copy to the running server and end at once; prints the job's number (see `dryport job`)
    #[arg(long, conflicts_with = "timing")]
    pub(super) detach: bool,
    #[command(flatten)]
    pub(super) timing: Timing,
    #[command(flatten)]
    pub(super) format: OutputFormat,
}

impl Mirror {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (format, may_lack) = (self.format, self.allow_missing_evidence);
        let registry = self.registry.clone();
        if let Some(schedule) = self.timing.schedule()? {
            let job = self.job().await?;
            return plan(&registry, job, schedule, format).await;
        }
        let job = self.job().await?;
        let session = registry.session("mirror").await?;
        let stop = CancellationToken::new();
        let shown = Arc::new(progress::RunDisplay::new());
        let (stopped, clears) = (stop.clone(), shown.clone());
        let interrupt =
            tokio::spawn(async move { cancel_on_signal(stopped, || clears.finish()).await });
        let ticker = shown.clone().tick();
        let (hears, begun) = (shown.clone(), Arc::new(OnceLock::new()));
        let is = Arc::clone(&begun);
        let news = move |now| match now {
            Progress::Mirror(now) => hears.hear(&now),
            // It is told of once.
            Progress::Job(now) if now.joined => output::note(&format!(
                "another command began this copy as job {}; an interrupt ends this command alone",
                now.job
            )),
            Progress::Job(now) => drop(is.set(now.job)),
            Progress::Check(_) | Progress::Sweep(_) => {}
        };
        let reply = session.ask(job, Arc::new(news), stop.clone()).await;
        ticker.abort();
        shown.finish();
        if let (true, Some(id)) = (stop.is_cancelled(), begun.get()) {
            // Who interrupts the command wants the work to stop; who loses the connection does not. One that ended
            // meanwhile cannot be cancelled, and need not be.
            let _ = session.quick(JobCancel { id: *id }).await;
        }
        session.close().await;
        interrupt.abort();
        let report = match reply? {
            Slow::Done(report) => report,
            Slow::Job(job) if format.json => return output::json(&job),
            Slow::Job(job) => return output::print(&job.id.to_string()),
        };
        if format.json {
            output::json(&report)?;
        } else {
            output::print(&summary(&report))?;
            warn(&report);
        }
        match report.missing_evidence_count {
            0 => Ok(()),
            _ if may_lack => Ok(()),
            count => Err(Failure::new(FaultKind::Evidence, missing(count))),
        }
    }

    /// What to do; the files are read, and the credentials looked up, as the user who typed the command.
    async fn job(self) -> Result<MirrorJob, Failure> {
        let source: crate::mirror::SourceImage = self
            .source
            .parse()
            .map_err(|e: crate::mirror::MirrorError| Failure::usage(e.to_string()))?;
        let ca_pem = match &self.ca {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|e| Failure::usage(format!("--ca {}: {e}", path.display())))?,
            ),
        };
        let login = if self.anonymous {
            None
        } else {
            login(&source, self.creds_file).await?
        };
        Ok(MirrorJob {
            source: self.source,
            to: self.to,
            platforms: self.platform,
            allow_missing_platforms: self.allow_missing_platform,
            plain_http: self.plain_http,
            ca_pem,
            insecure: self.insecure,
            realms: self.realm,
            allow_hosts: self.allow_host,
            login,
            detach: self.detach,
        })
    }
}

/// The caller's own credentials for the other registry.
async fn login(
    source: &crate::mirror::SourceImage,
    file: Option<PathBuf>,
) -> Result<Option<credentials::Credential>, Failure> {
    let (registry, name) = (source.registry().to_owned(), source.name().to_string());
    // Credential helpers are programs: they may take a while.
    let (odd, login) = tokio::task::spawn_blocking(move || {
        let files = credentials::CredentialFiles::read(file.as_deref());
        (files.warnings(), files.lookup(&registry, &name))
    })
    .await
    .map_err(Failure::failed)?;
    for text in &odd {
        output::warning(text);
    }
    login.map_err(Failure::failed)
}

/// Has the copy made again and again.
async fn plan(
    registry: &RegistryArgs,
    job: MirrorJob,
    schedule: Schedule,
    format: OutputFormat,
) -> Result<(), Failure> {
    if job.login.is_some() {
        return Err(Failure::usage(
            "you have credentials for this registry, and a schedule keeps none: its copies run without you. With --anonymous they are made without credentials, which does for what anyone may pull",
        ));
    }
    if job.ca_pem.is_some() {
        return Err(Failure::usage(
            "a schedule keeps no certificate: its copies run without you. Give the machine of the server the certificate instead (its system's CAs), and leave --ca out",
        ));
    }
    let session = registry.session("mirror").await?;
    let served = !matches!(session, CommandSession::Local { .. });
    let made = session.quick(ScheduleMirror { job, schedule }).await;
    session.close().await;
    let made = made?;
    if format.json {
        return output::json(&made);
    }
    output::print(&timing::made(&made, served))
}

/// Says what of the report is no success. With `--json` it stands in the report.
fn warn(report: &MirrorReport) {
    for text in &report.warnings {
        output::warning(text);
    }
    for one in &report.missing_evidence {
        output::warning(&format!(
            "{} of {} is left out: {}",
            one.what, one.subject, one.why
        ));
    }
    for one in &report.kept_tags {
        output::warning(&format!(
            "the tag {} was moved here and stays at {}; what it means at the source is here as {}, without a tag: it stays as long as what it refers to, or else for history.keep",
            one.tag, one.here, one.upstream
        ));
    }
    let named = report.kept_tags.len() as u64;
    if report.kept_tags_count > named {
        let more = report.kept_tags_count - named;
        output::warning(&format!("{more} more tags stay as they were moved here"));
    }
    let named = report.missing_evidence.len() as u64;
    if report.missing_evidence_count > named {
        let more = report.missing_evidence_count - named;
        output::warning(&format!("{more} more are left out"));
    }
}

fn missing(count: u64) -> String {
    format!(
        "the image is here, but of what is attached to it (signatures, attestations and the like) {} could not be read; the same command tries again, and --allow-missing-evidence takes the image as it is",
        output::count(count, "part")
    )
}

/// Cancels `stop` at the first interrupt; at the second one clears the screen and ends the process.
pub(super) async fn cancel_on_signal(stop: CancellationToken, clear: impl FnOnce()) {
    use tokio::signal::unix::{SignalKind, signal};
    // Without a handler the signal ends the process, which the server sees, too.
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    let mut heard = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    heard().await;
    stop.cancel();
    // Who asks twice does not want to wait for what saves the state: a kill loses nothing that was synced.
    heard().await;
    clear();
    std::process::exit(Exit::Failed.code().into());
}

fn summary(report: &MirrorReport) -> String {
    let tags = if report.tags.is_empty() {
        String::new()
    } else {
        format!(":{}", report.tags.join(", :"))
    };
    format!(
        "Mirrored {}{tags}\n{}\n{}; {} fetched ({}), {} here already ({})",
        report.name,
        report.digest,
        output::count(report.manifests, "manifest"),
        output::count(report.blobs, "blob"),
        output::size(report.bytes),
        report.blobs_skipped,
        output::size(report.bytes_skipped)
    )
}
