//! When a command's work is to be done again and again: the options that say so, and how schedules are shown.

use super::exit::Failure;
use super::output;
use crate::jobs::{Rhythm, Schedule, ScheduleView};
use clap::Args;

/// When the work is done again and again.
#[derive(Debug, Args)]
#[group(id = "timing", multiple = true)]
pub(super) struct Timing {
    /// Have the server do this again and again, so long after each beginning, first at once: for example 6h
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration_ms, conflicts_with = "cron")]
    every: Option<u64>,
    /// Have the server do this at these times: minute, hour, day of the month, month, day of the week ('0 3 * * MON-FRI')
    #[arg(long, value_name = "FIELDS")]
    cron: Option<String>,
    /// Time zone of --cron, by its name in the IANA database [default: UTC]
    #[arg(long, value_name = "AREA/CITY", requires = "cron")]
    zone: Option<String>,
    /// Begin each time up to so much later, by chance, so that many sites do not ask at once
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration_ms)]
    jitter: Option<u64>,
}

impl Timing {
    /// The schedule; none where the work is to be done once.
    pub(super) fn schedule(&self) -> Result<Option<Schedule>, Failure> {
        let rhythm = match (self.every, &self.cron) {
            (Some(every_ms), _) => Rhythm::Every { every_ms },
            (None, Some(cron)) => Rhythm::Cron {
                cron: cron.split_whitespace().collect::<Vec<_>>().join(" "),
                zone: self.zone.clone().unwrap_or_else(|| "UTC".into()),
            },
            (None, None) if self.jitter.is_some() => {
                return Err(Failure::usage("--jitter goes with --every or --cron"));
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Schedule {
            rhythm,
            jitter_ms: self.jitter.unwrap_or(0),
        }))
    }
}

/// What a new schedule is, for people; `served`: a server runs that keeps it.
pub(super) fn made(schedule: &ScheduleView, served: bool) -> String {
    let first = match (served, &schedule.schedule.rhythm) {
        (true, Rhythm::Every { .. }) => "it first runs now".to_owned(),
        (true, Rhythm::Cron { .. }) => format!("it first runs {}", output::time(schedule.next_ms)),
        (false, Rhythm::Every { .. }) => {
            "no server runs now: it first runs when one does".to_owned()
        }
        (false, Rhythm::Cron { .. }) => format!(
            "it first runs {}, or when a server runs after that",
            output::time(schedule.next_ms)
        ),
    };
    format!("Schedule {}: {}; {first}", schedule.id, schedule.schedule)
}

/// The schedules as a table.
pub(super) fn list(schedules: &[ScheduleView]) -> Result<(), Failure> {
    if schedules.is_empty() {
        return output::print("No schedules.");
    }
    let row = |schedule: &ScheduleView| {
        let last = match (schedule.last_job, schedule.last_state) {
            (Some(job), Some(state)) => format!("job {job} {state}"),
            _ => "-".to_owned(),
        };
        vec![
            schedule.id.to_string(),
            schedule.kind.clone(),
            schedule.schedule.to_string(),
            output::time(schedule.next_ms),
            last,
            schedule.what.clone(),
        ]
    };
    let rows: Vec<_> = schedules.iter().map(row).collect();
    output::print(&output::table(
        &["ID", "KIND", "WHEN", "NEXT", "LAST", "WHAT"],
        &rows,
    ))
}
