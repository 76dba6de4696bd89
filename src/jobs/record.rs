//! The rows of jobs; the golden file pins their bytes.

use super::JobState;
use super::schedule::{Rhythm, Schedule};
use crate::store::StoreError;
use crate::store::record::{Decode, Encode, Record, decode_body};
use crate::types::Remedy;

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JobRecord {
    /// The word of who runs it, for example `mirror`.
    pub kind: String,
    /// What it does, for people.
    pub what: String,
    /// Its input, as JSON, without what only a command can give.
    pub spec: String,
    /// It needs more than `spec`: what only a command can give.
    pub needs: bool,
    /// A code of [`JobState`].
    pub state: u8,
    /// Who asked for it.
    pub who: String,
    /// When (wall clock, ms).
    pub made_ms: u64,
    /// When it was begun last (wall clock, ms); 0 before.
    pub begun_ms: u64,
    /// When it ended (wall clock, ms); 0 before.
    pub ended_ms: u64,
    /// How often it was begun.
    pub attempts: u32,
    /// Not to be begun before this (running ms).
    pub not_before: u64,
    /// Who runs it: a random number of a process.
    pub claim: u64,
    /// Until when that holds unless it is renewed (running ms).
    pub claimed_until: u64,
    /// Somebody wants it to end.
    pub cancel: bool,
    /// How far it is, as JSON; empty if that is not known.
    pub progress: String,
    /// What came of it, as JSON; empty before.
    pub result: String,
    /// Why it failed last, for people; empty if it did not.
    pub error: String,
    /// What can be done about that, as JSON; empty if nothing is known.
    pub remedy: String,
    /// Lines of its log.
    pub lines: u64,
}

impl Record for JobRecord {
    const NAME: &'static str = "job";
    const VERSION: u8 = 2;

    fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, StoreError>> {
        (version == 1).then(|| decode_body::<JobRecordV1>(Self::NAME, body).map(Self::from))
    }
}

/// [`JobRecord`] as of version 1: what could be done about a failure stood in its text.
#[derive(Decode)]
struct JobRecordV1 {
    kind: String,
    what: String,
    spec: String,
    needs: bool,
    state: u8,
    who: String,
    made_ms: u64,
    begun_ms: u64,
    ended_ms: u64,
    attempts: u32,
    not_before: u64,
    claim: u64,
    claimed_until: u64,
    cancel: bool,
    progress: String,
    result: String,
    error: String,
    lines: u64,
}

impl From<JobRecordV1> for JobRecord {
    fn from(old: JobRecordV1) -> Self {
        Self {
            kind: old.kind,
            what: old.what,
            spec: old.spec,
            needs: old.needs,
            state: old.state,
            who: old.who,
            made_ms: old.made_ms,
            begun_ms: old.begun_ms,
            ended_ms: old.ended_ms,
            attempts: old.attempts,
            not_before: old.not_before,
            claim: old.claim,
            claimed_until: old.claimed_until,
            cancel: old.cancel,
            progress: old.progress,
            result: old.result,
            error: old.error,
            remedy: String::new(),
            lines: old.lines,
        }
    }
}

/// A remedy as rows keep it; empty for none.
pub(super) fn written(remedy: Option<&Remedy>) -> String {
    let json = remedy.and_then(|remedy| serde_json::to_string(remedy).ok());
    json.unwrap_or_default()
}

/// The remedy of a row; none where a newer version wrote one that this one does not know.
pub(super) fn read(remedy: &str) -> Option<Remedy> {
    serde_json::from_str(remedy).ok()
}

impl JobRecord {
    /// Its state.
    pub fn state(&self) -> JobState {
        JobState::of(self.state)
    }
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JobLineRecord {
    /// Wall clock, ms.
    pub at_ms: u64,
    /// What happened, for people.
    pub text: String,
    /// What can be done about it, as JSON; empty if nothing is known.
    pub remedy: String,
}

impl Record for JobLineRecord {
    const NAME: &'static str = "job-line";
    const VERSION: u8 = 2;

    fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, StoreError>> {
        (version == 1).then(|| {
            let (at_ms, text) = decode_body(Self::NAME, body)?;
            Ok(Self {
                at_ms,
                text,
                remedy: String::new(),
            })
        })
    }
}

/// A schedule: what is queued again and again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ScheduleRecord {
    /// The word of who runs its jobs.
    pub kind: String,
    /// What they do, for people.
    pub what: String,
    /// Their input, as JSON; they need nothing else.
    pub spec: String,
    /// Who asked for it.
    pub who: String,
    /// When (wall clock, ms).
    pub made_ms: u64,
    /// The interval (running ms); 0: `cron` says when.
    pub every_ms: u64,
    /// Five fields; empty with an interval.
    pub cron: String,
    /// The time zone of `cron`; empty with an interval.
    pub zone: String,
    /// Each run is late by a random part of this (ms).
    pub jitter_ms: u64,
    /// When the next run would be without jitter: of an interval running ms, of `cron` wall clock ms.
    pub base: u64,
    /// When it is.
    pub at: u64,
    /// The number of its last job; 0 before.
    pub last_job: u64,
    /// Jobs that it has queued.
    pub runs: u64,
    /// Times that nothing was queued, since the last job had not ended.
    pub skipped: u64,
}

impl Record for ScheduleRecord {
    const NAME: &'static str = "schedule";
    const VERSION: u8 = 1;
}

impl ScheduleRecord {
    /// Its rule.
    pub fn schedule(&self) -> Schedule {
        let rhythm = match self.every_ms {
            0 => Rhythm::Cron {
                cron: self.cron.clone(),
                zone: self.zone.clone(),
            },
            every_ms => Rhythm::Every { every_ms },
        };
        Schedule {
            rhythm,
            jitter_ms: self.jitter_ms,
        }
    }

    /// What the clock of its rule says.
    pub fn now(&self, clocks: Clocks) -> u64 {
        if self.every_ms > 0 {
            clocks.running_ms
        } else {
            clocks.wall_ms
        }
    }
}

/// What the two clocks say.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// Wall clock (ms since 1970).
    pub wall_ms: u64,
    /// Running time (ms).
    pub running_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::golden;

    #[test]
    fn golden_jobs() {
        let job = JobRecord {
            kind: "mirror".into(),
            what: "docker://registry.example/app:1".into(),
            spec: "{}".into(),
            needs: true,
            state: JobState::Running.code(),
            who: "operator".into(),
            made_ms: 1_700_000_000_000,
            begun_ms: 1_700_000_000_001,
            ended_ms: 1_700_000_000_002,
            attempts: 3,
            not_before: 300,
            claim: 7,
            claimed_until: 400,
            cancel: true,
            progress: "{\"blobs\":1}".into(),
            result: "{}".into(),
            error: "no".into(),
            remedy: r#"{"trust_realm":"auth.example"}"#.into(),
            lines: 2,
        };
        golden::check(&job);
        let remedy = String::new();
        golden::check_old(1, &JobRecord { remedy, ..job });
        let line = JobLineRecord {
            at_ms: 1_700_000_000_000,
            text: "begun".into(),
            remedy: r#""choose_target""#.into(),
        };
        golden::check(&line);
        let remedy = String::new();
        golden::check_old(1, &JobLineRecord { remedy, ..line });
    }

    #[test]
    fn a_remedy_of_a_newer_version_is_none() {
        let known = Remedy::AllowHost("10.0.0.1".into());
        assert_eq!(read(&written(Some(&known))), Some(known));
        assert_eq!(read(&written(None)), None);
        assert_eq!(read(r#"{"phone":"somebody"}"#), None);
    }

    #[test]
    fn golden_schedules() {
        golden::check(&ScheduleRecord {
            kind: "mirror".into(),
            what: "docker://registry.example/app:1".into(),
            spec: "{}".into(),
            who: "operator".into(),
            made_ms: 1_700_000_000_000,
            every_ms: 21_600_000,
            cron: "0 3 * * *".into(),
            zone: "Europe/Berlin".into(),
            jitter_ms: 600_000,
            base: 1_700_000_000_001,
            at: 1_700_000_000_002,
            last_job: 9,
            runs: 4,
            skipped: 1,
        });
    }
}
