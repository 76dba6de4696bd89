//! Jobs as people and scripts see them.

use super::record::{self, Clocks, JobLineRecord, JobRecord, ScheduleRecord};
use super::schedule::Schedule;
use crate::types::{JobId, Remedy, ScheduleId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its turn, or for the time of its next try.
    Queued = 0,
    /// It runs.
    Running = 1,
    /// It waits for what only a command can give: the same command said again takes it up.
    Waiting = 2,
    /// It came to its end.
    Done = 3,
    /// It failed for good.
    Failed = 4,
    /// Somebody ended it.
    Cancelled = 5,
}

impl JobState {
    /// Every state.
    const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The code in its row.
    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    /// The state of a code; one that is not known is a failure.
    pub(super) fn of(code: u8) -> Self {
        let found = Self::ALL.into_iter().find(|state| state.code() == code);
        found.unwrap_or(Self::Failed)
    }

    /// Whether nothing more will come of it by itself.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// The word that people and scripts read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobView {
    /// Its number.
    pub id: JobId,
    /// The word of who runs it, for example `mirror`.
    pub kind: String,
    /// What it does.
    pub what: String,
    /// What it is doing.
    pub state: JobState,
    /// Who asked for it.
    pub who: String,
    /// When (wall clock, ms).
    pub made_ms: u64,
    /// When it was begun last (wall clock, ms).
    pub begun_ms: Option<u64>,
    /// When it ended (wall clock, ms).
    pub ended_ms: Option<u64>,
    /// How often it was begun.
    pub attempts: u32,
    /// How far it is.
    pub progress: Option<serde_json::Value>,
    /// What came of it.
    pub result: Option<serde_json::Value>,
    /// Why it failed, last.
    pub error: Option<String>,
    /// What can be done about that, if something is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobLine {
    /// Wall clock, ms.
    pub at_ms: u64,
    /// What happened.
    pub text: String,
    /// What can be done about it, if something is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScheduleView {
    /// Its number.
    pub id: ScheduleId,
    /// The word of who runs its jobs, for example `mirror`.
    pub kind: String,
    /// What they do.
    pub what: String,
    /// When they run.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// Who asked for it.
    pub who: String,
    /// When (wall clock, ms).
    pub made_ms: u64,
    /// When the next job is queued (wall clock, ms), if a server runs by then; of an interval, as the clocks are now.
    pub next_ms: u64,
    /// Its last job, if that is remembered.
    pub last_job: Option<JobId>,
    /// What that one is doing.
    pub last_state: Option<JobState>,
    /// Jobs that it has queued.
    pub runs: u64,
    /// Times that nothing was queued, since the last job had not ended.
    pub skipped: u64,
}

impl ScheduleView {
    pub(super) fn of(
        id: ScheduleId,
        row: ScheduleRecord,
        last: Option<JobState>,
        clocks: Clocks,
    ) -> Self {
        let left = row.at.saturating_sub(row.now(clocks));
        Self {
            id,
            schedule: row.schedule(),
            kind: row.kind,
            what: row.what,
            who: row.who,
            made_ms: row.made_ms,
            next_ms: clocks.wall_ms.saturating_add(left),
            last_job: last.map(|_| JobId(row.last_job)),
            last_state: last,
            runs: row.runs,
            skipped: row.skipped,
        }
    }
}

impl JobView {
    pub(super) fn of(id: JobId, row: JobRecord) -> Self {
        let json = |text: &str| serde_json::from_str(text).ok();
        let time = |ms: u64| (ms > 0).then_some(ms);
        Self {
            id,
            state: row.state(),
            made_ms: row.made_ms,
            begun_ms: time(row.begun_ms),
            ended_ms: time(row.ended_ms),
            attempts: row.attempts,
            progress: json(&row.progress),
            result: json(&row.result),
            error: (!row.error.is_empty()).then_some(row.error),
            remedy: record::read(&row.remedy),
            kind: row.kind,
            what: row.what,
            who: row.who,
        }
    }
}

impl From<JobLineRecord> for JobLine {
    fn from(row: JobLineRecord) -> Self {
        Self {
            at_ms: row.at_ms,
            text: row.text,
            remedy: record::read(&row.remedy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::of(state.code()), state);
            let json = serde_json::to_string(&state).expect("json");
            assert_eq!(json, format!("\"{state}\""));
        }
    }
}
