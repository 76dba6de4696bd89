//! The rows of jobs; the golden file pins their bytes.

use super::JobState;
use crate::store::record::{Decode, Encode, Record};

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct JobRecord {
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
    /// Lines of its log.
    pub lines: u64,
}

impl Record for JobRecord {
    const NAME: &'static str = "job";
    const VERSION: u8 = 1;
}

impl JobRecord {
    pub fn state(&self) -> JobState {
        JobState::of(self.state)
    }
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct JobLineRecord {
    /// Wall clock, ms.
    pub at_ms: u64,
    /// What happened, for people.
    pub text: String,
}

impl Record for JobLineRecord {
    const NAME: &'static str = "job-line";
    const VERSION: u8 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::golden;

    #[test]
    fn golden_jobs() {
        golden::check(&JobRecord {
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
            lines: 2,
        });
        golden::check(&JobLineRecord {
            at_ms: 1_700_000_000_000,
            text: "begun".into(),
        });
    }
}
