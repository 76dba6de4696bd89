//! What callers hear: news while slow work goes on, then one result.

use super::fault::Fault;
use crate::gc::check::CheckProgress;
use crate::jobs::JobView;
use crate::mirror::MirrorProgress;
use crate::repo::reclaim::Tally as SweepTally;
use crate::types::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// It is done, and there is nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {}

/// The answer to what may take long.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Slow<T> {
    /// It has come to its end.
    Done(T),
    /// This job does it, and nobody waits for it.
    Job(Box<JobView>),
}

/// How far slow work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Progress {
    /// The work is this job.
    Job(JobBegun),
    /// Of a copy from another registry.
    Mirror(MirrorProgress),
    /// Of a check.
    Check(CheckProgress),
    /// Of a sweep: what came of it so far.
    Sweep(SweepTally),
}

/// The job that does what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobBegun {
    /// Its number.
    pub job: JobId,
    /// Another command had begun it.
    pub joined: bool,
}

/// Hears how far slow work is. Called from any thread; must not block.
pub type News = Arc<dyn Fn(Progress) + Send + Sync>;

/// One line of an answer on the control socket: news while the work goes on, then exactly one `ok` or `error`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// How far the work is.
    Progress(Progress),
    /// Done: the reply of the operation.
    Ok(Value),
    /// Failed.
    Error(Fault),
}

#[cfg(test)]
mod tests {
    use super::super::fault::FaultKind;
    use super::*;

    #[test]
    fn lines_are_tagged_json() {
        let reply = serde_json::to_value(Done {}).expect("json");
        let ok = serde_json::to_string(&Line::Ok(reply)).expect("json");
        assert_eq!(ok, r#"{"ok":{}}"#);
        let error = Line::Error(Fault::new(FaultKind::NotFound, "no"));
        let error = serde_json::to_string(&error).expect("json");
        assert_eq!(error, r#"{"error":{"kind":"not-found","message":"no"}}"#);
    }

    #[test]
    fn progress_reads_back() {
        let check = Progress::Check(CheckProgress {
            checked_blobs: 3,
            ..CheckProgress::default()
        });
        let mirror = Progress::Mirror(MirrorProgress::Skipped {
            digest: "sha256:00".into(),
            size: 7,
        });
        let job = Progress::Job(JobBegun {
            job: JobId(7),
            joined: true,
        });
        let sweep = Progress::Sweep(SweepTally::default());
        for progress in [check, mirror, job, sweep] {
            let text = serde_json::to_string(&progress).expect("json");
            let back: Progress = serde_json::from_str(&text).expect("same");
            assert_eq!(back, progress);
        }
    }
}
