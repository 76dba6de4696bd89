//! `dryport job`.

use super::exit::Failure;
use super::hints;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::RegistryArgs;
use super::timing;
use crate::app::ops::{
    JobCancel, JobList, JobLog, JobRetry, JobShow, ScheduleList, ScheduleRemove,
};
use crate::jobs::{JobLine, JobView};
use crate::types::{JobId, ScheduleId};
use clap::{Args, Subcommand};

/// List, show or end jobs: slow work that goes on without its command
#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// List all jobs, the newest first
    List(List),
    /// Show one job: what it does, how far it is, what came of it
    Show(One),
    /// Show what happened to a job
    Log(One),
    /// Have a job end; what it has fetched stays for the next one
    Cancel(One),
    /// Try a job again that failed or was cancelled
    ///
    /// One that needs credentials or a certificate keeps neither: give its own command again instead, which takes it up.
    Retry(One),
    /// List all schedules: what queues a job again and again
    ///
    /// `dryport mirror --every TIME` or `--cron FIELDS` makes one.
    Schedules(List),
    /// Remove a schedule; a job of it that has begun goes on
    Unschedule(Numbered),
}

/// Arguments of `job list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of the others.
#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The job's number, as `job list` shows it
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `job unschedule`.
#[derive(Debug, Args)]
pub(super) struct Numbered {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The schedule's number, as `job schedules` shows it
    #[arg(value_name = "N")]
    id: u64,
}

impl JobCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let registry = match &self {
            Self::List(List { registry, .. })
            | Self::Schedules(List { registry, .. })
            | Self::Show(One { registry, .. })
            | Self::Log(One { registry, .. })
            | Self::Cancel(One { registry, .. })
            | Self::Retry(One { registry, .. })
            | Self::Unschedule(Numbered { registry, .. }) => registry,
        };
        let session = registry.session("job").await?;
        let done = self.with(&session).await;
        session.close().await;
        done
    }

    async fn with(self, session: &CommandSession) -> Result<(), Failure> {
        match self {
            Self::List(List { format, .. }) => {
                let jobs = session.quick(JobList {}).await?.jobs;
                if format.json {
                    return output::json(&jobs);
                }
                list(&jobs)
            }
            Self::Show(One { id, format, .. }) => {
                let id = JobId(id);
                show(&session.quick(JobShow { id }).await?, format)
            }
            Self::Cancel(One { id, format, .. }) => {
                let id = JobId(id);
                show(&session.quick(JobCancel { id }).await?, format)
            }
            Self::Retry(One { id, format, .. }) => {
                let id = JobId(id);
                show(&session.quick(JobRetry { id }).await?, format)
            }
            Self::Log(One { id, format, .. }) => {
                let id = JobId(id);
                let lines = session.quick(JobLog { id }).await?.lines;
                if format.json {
                    return output::json(&lines);
                }
                log(&lines)
            }
            Self::Schedules(List { format, .. }) => {
                let schedules = session.quick(ScheduleList {}).await?.schedules;
                if format.json {
                    return output::json(&schedules);
                }
                timing::list(&schedules)
            }
            Self::Unschedule(Numbered { id, .. }) => {
                let id = ScheduleId(id);
                session.quick(ScheduleRemove { id }).await?;
                output::print("The schedule is removed.")
            }
        }
    }
}

fn show(job: &JobView, format: OutputFormat) -> Result<(), Failure> {
    if format.json {
        return output::json(job);
    }
    output::print(&text(job))
}

fn list(jobs: &[JobView]) -> Result<(), Failure> {
    if jobs.is_empty() {
        return output::print("No jobs.");
    }
    let row = |job: &JobView| {
        vec![
            job.id.to_string(),
            job.kind.clone(),
            job.state.to_string(),
            output::time(job.made_ms),
            job.what.clone(),
        ]
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    output::print(&output::table(
        &["ID", "KIND", "STATE", "MADE", "WHAT"],
        &rows,
    ))?;
    match jobs.iter().find(|job| job.error.is_some()) {
        Some(job) => output::print(&format!(
            "\nWhy a job failed, and what to do about it, as of the last one: dryport job show {}",
            job.id
        )),
        None => Ok(()),
    }
}

fn text(job: &JobView) -> String {
    let mut lines = vec![
        format!("Job:       {}", job.id),
        format!("Kind:      {}", job.kind),
        format!("What:      {}", job.what),
        format!("State:     {}", job.state),
        format!("Made:      {} by {}", output::time(job.made_ms), job.who),
    ];
    if let Some(begun) = job.begun_ms {
        lines.push(format!(
            "Begun:     {}, {}",
            output::time(begun),
            output::count(job.attempts.into(), "time")
        ));
    }
    if let Some(ended) = job.ended_ms {
        lines.push(format!("Ended:     {}", output::time(ended)));
    }
    if let Some(progress) = job.progress.as_ref().and_then(far) {
        lines.push(format!("Progress:  {progress}"));
    }
    if let Some(error) = &job.error {
        let error = hints::with(error.clone(), job.remedy.as_ref());
        lines.push(format!("Error:     {error}"));
    }
    lines.join("\n")
}

/// How far a job is; each kind of work counts what it does.
fn far(progress: &serde_json::Value) -> Option<String> {
    let number = |key: &str| progress.get(key).and_then(serde_json::Value::as_u64);
    let of = |done, all| format!("{} of {}", output::size(done), output::size(all));
    if let (Some(done), Some(all)) = (number("blobs_done"), number("blobs")) {
        let bytes = of(number("bytes_done")?, number("bytes")?);
        return Some(format!("{done} of {all} blobs, {bytes}"));
    }
    if let (Some(done), Some(all)) = (number("checked_blobs"), number("all_blobs")) {
        let bytes = of(number("checked_bytes")?, number("all_bytes")?);
        return Some(format!("{done} of {all} blobs, {bytes}"));
    }
    if let (Some(done), Some(all)) = (number("pass_bytes"), number("pass_total")) {
        return Some(of(done, all));
    }
    let looked = number("examined")?;
    Some(format!(
        "{} looked at, {} dropped, {} freed ({})",
        output::count(looked, "row"),
        number("history_dropped")? + number("manifests_removed")?,
        output::count(number("freed_blobs")?, "blob"),
        output::size(number("freed_bytes")?)
    ))
}

fn log(lines: &[JobLine]) -> Result<(), Failure> {
    let text = |line: &JobLine| {
        let text = hints::with(line.text.clone(), line.remedy.as_ref());
        format!("{}  {text}", output::time(line.at_ms))
    };
    let lines: Vec<_> = lines.iter().map(text).collect();
    output::print(&lines.join("\n"))
}
