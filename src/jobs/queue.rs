//! What happens to a job, one transaction each.

use super::fresh::{KEPT, fresh};
use super::record::{JobLineRecord, JobRecord, written};
use super::rows::{all, find, lines, log, put, tell};
use super::{
    ATTEMPTS, Claimed, JobError, JobLine, JobState, JobView, Jobs, LEASE, NewJob, Outcome,
};
use crate::store::feed::FeedKind;
use crate::store::record::Record;
use crate::store::{Get, Need, Txn};
use crate::types::{JobId, wall_ms};
use std::collections::BTreeSet;

/// The first pause before another try, and the longest (ms).
const PAUSE: u64 = 30_000;
const LONGEST: u64 = 3_600_000;

impl Jobs {
    /// Remembers a job. With `now` this process has claimed it; else it waits for its turn.
    pub async fn make(&self, new: NewJob, now: bool) -> Result<JobId, JobError> {
        new.check()?;
        let (claim, at_ms) = (self.claim, wall_ms());
        let make = move |tx: &mut Txn<'_>| {
            let (id, mut job) = fresh(tx, &new, at_ms)?;
            if now {
                begin(tx, id, &mut job, claim, at_ms)?;
            }
            put(tx, id, &job)?;
            tell(tx, FeedKind::Job, id.0, at_ms, (&job.who, "job.make"))?;
            Ok(id)
        };
        self.write(Need::Grows, "job.make", make).await
    }

    /// Claims a job that waits, for who can give what it needs.
    ///
    /// # Errors
    /// [`JobError::State`] where it does not wait any more.
    pub async fn take(&self, id: JobId) -> Result<Claimed, JobError> {
        let (claim, at_ms) = (self.claim, wall_ms());
        let take = move |tx: &mut Txn<'_>| {
            let mut job = find(tx, id)?;
            if !matches!(job.state(), JobState::Waiting | JobState::Queued) {
                let (state, why) = (job.state(), "it does not wait to be taken up");
                return Err(JobError::State { id, state, why });
            }
            begin(tx, id, &mut job, claim, at_ms)?;
            put(tx, id, &job)?;
            Ok(claimed(id, job))
        };
        self.write(Need::Keeps, "job.take", take).await
    }

    /// Claims the next job whose time has come; none if there is none. Those of some kinds are left to others.
    pub async fn next(&self, but: &'static [&'static str]) -> Result<Option<Claimed>, JobError> {
        // Most often there is none: a look is no change.
        if !self.read(|r| Ok(due(r, but)?.is_some())).await? {
            return Ok(None);
        }
        let (claim, at_ms) = (self.claim, wall_ms());
        let take = move |tx: &mut Txn<'_>| {
            let Some((id, mut job)) = due(tx, but)? else {
                return Ok(None);
            };
            begin(tx, id, &mut job, claim, at_ms)?;
            put(tx, id, &job)?;
            Ok(Some(claimed(id, job)))
        };
        self.write(Need::Keeps, "job.next", take).await
    }

    /// Renews the claim, with how far the job is and what happened; answers whether somebody wants it to end, or has taken
    /// it over.
    pub async fn beat(
        &self,
        id: JobId,
        progress: String,
        happened: Vec<String>,
    ) -> Result<bool, JobError> {
        let (claim, at_ms) = (self.claim, wall_ms());
        let beat = move |tx: &mut Txn<'_>| {
            let mut job = find(tx, id)?;
            if job.claim != claim || job.state() != JobState::Running {
                return Ok(true);
            }
            job.claimed_until = tx.running_ms() + LEASE.as_millis() as u64;
            job.progress.clone_from(&progress);
            for text in &happened {
                log(tx, id, &mut job, at_ms, (text, ""))?;
            }
            put(tx, id, &job)?;
            Ok(job.cancel)
        };
        self.write(Need::Keeps, "job.beat", beat).await
    }

    /// Ends a job that this process runs, or puts it off; whether it is over.
    pub async fn end(&self, id: JobId, outcome: Outcome) -> Result<bool, JobError> {
        let (claim, at_ms) = (self.claim, wall_ms());
        let end = move |tx: &mut Txn<'_>| {
            let mut job = find(tx, id)?;
            if job.claim != claim || job.state() != JobState::Running {
                return Ok(true);
            }
            let text = close(&mut job, &outcome, tx.running_ms());
            job.claim = 0;
            if job.state().has_ended() {
                job.ended_ms = at_ms;
            }
            let remedy = job.remedy.clone();
            log(tx, id, &mut job, at_ms, (&text, &remedy))?;
            put(tx, id, &job)?;
            Ok(job.state().has_ended())
        };
        self.write(Need::Keeps, "job.end", end).await
    }

    /// What a process that is gone had begun is queued again, or waits for its command. To be called before any job is
    /// claimed; answers how many.
    pub async fn recover(&self) -> Result<usize, JobError> {
        let left = self.read(|r| {
            let jobs = all(r, JobId(0), KEPT)?;
            Ok(jobs.iter().any(|(_, job)| !job.state().has_ended()))
        });
        if !left.await? {
            return Ok(0);
        }
        let (claim, at_ms) = (self.claim, wall_ms());
        let recover = move |tx: &mut Txn<'_>| {
            let mut found = 0;
            for (id, mut job) in all(tx, JobId(0), KEPT)? {
                let is_left = match job.state() {
                    JobState::Running => job.claim != claim,
                    // What it needs was in the memory of that process.
                    JobState::Queued => job.needs,
                    _ => false,
                };
                if !is_left {
                    continue;
                }
                let state = match (job.cancel, job.needs) {
                    (true, _) => JobState::Cancelled,
                    (_, true) => JobState::Waiting,
                    (_, false) => JobState::Queued,
                };
                (job.state, job.claim, job.not_before) = (state.code(), 0, 0);
                let text = format!("the process that ran it ended; it is {state}");
                log(tx, id, &mut job, at_ms, (&text, ""))?;
                put(tx, id, &job)?;
                found += 1;
            }
            Ok(found)
        };
        self.write(Need::Keeps, "job.recover", recover).await
    }

    /// Has a job end: at once where it does not run; else with its next beat. Answers whether it runs.
    pub async fn cancel(&self, id: JobId) -> Result<bool, JobError> {
        let at_ms = wall_ms();
        let cancel = move |tx: &mut Txn<'_>| {
            let mut job = find(tx, id)?;
            let runs = job.state() == JobState::Running;
            if job.state().has_ended() {
                let (state, why) = (job.state(), "it has ended, and there is nothing to cancel");
                return Err(JobError::State { id, state, why });
            }
            job.cancel = true;
            if !runs {
                (job.state, job.ended_ms) = (JobState::Cancelled.code(), at_ms);
            }
            log(tx, id, &mut job, at_ms, ("somebody cancelled it", ""))?;
            put(tx, id, &job)?;
            tell(tx, FeedKind::Job, id.0, at_ms, ("", "job.cancel"))?;
            Ok(runs)
        };
        self.write(Need::Keeps, "job.cancel", cancel).await
    }

    /// Queues a job again that failed or was cancelled.
    pub async fn retry(&self, id: JobId) -> Result<(), JobError> {
        let at_ms = wall_ms();
        let retry = move |tx: &mut Txn<'_>| {
            let mut job = find(tx, id)?;
            let state = job.state();
            let why = match state {
                JobState::Running | JobState::Queued => "it goes on by itself",
                JobState::Done => "it came to its end; give its command again for another one",
                _ if job.needs => {
                    "it needs what only its command can give; give that command again"
                }
                _ => "",
            };
            if !why.is_empty() {
                return Err(JobError::State { id, state, why });
            }
            (job.state, job.cancel) = (JobState::Queued.code(), false);
            (job.attempts, job.not_before, job.ended_ms) = (0, 0, 0);
            log(
                tx,
                id,
                &mut job,
                at_ms,
                ("somebody asked for another try", ""),
            )?;
            put(tx, id, &job)?;
            tell(tx, FeedKind::Job, id.0, at_ms, ("", "job.retry"))?;
            Ok(())
        };
        self.write(Need::Keeps, "job.retry", retry).await
    }

    /// A job of this kind and input that has not ended.
    pub async fn same(&self, kind: &str, spec: &str) -> Result<Option<JobView>, JobError> {
        let (kind, spec) = (kind.to_owned(), spec.to_owned());
        self.read(move |r| {
            let mut all = all(r, JobId(0), KEPT)?.into_iter();
            let found = all.find(|(_, job)| {
                !job.state().has_ended() && !job.cancel && job.kind == kind && job.spec == spec
            });
            Ok(found.map(|(id, job)| JobView::of(id, job)))
        })
        .await
    }

    /// The jobs that run, or will be begun without anybody's doing.
    pub async fn going(&self) -> Result<BTreeSet<JobId>, JobError> {
        self.read(|r| {
            let jobs = all(r, JobId(0), 2 * KEPT)?.into_iter();
            let goes = |state| matches!(state, JobState::Queued | JobState::Running);
            let going = jobs.filter(|(_, job)| goes(job.state()) && !job.cancel);
            Ok(going.map(|(id, _)| id).collect())
        })
        .await
    }

    /// Every job, the newest first.
    pub async fn list(&self) -> Result<Vec<JobView>, JobError> {
        self.read(|r| {
            let jobs = all(r, JobId(0), 2 * KEPT)?;
            let views = jobs.into_iter().rev();
            Ok(views.map(|(id, job)| JobView::of(id, job)).collect())
        })
        .await
    }

    /// One job.
    pub async fn show(&self, id: JobId) -> Result<JobView, JobError> {
        self.read(move |r| Ok(JobView::of(id, find(r, id)?))).await
    }

    /// A job's log, the oldest line first.
    pub async fn log(&self, id: JobId) -> Result<Vec<JobLine>, JobError> {
        self.read(move |r| {
            find(r, id)?;
            let lines = lines(r, id)?;
            let lines = lines.iter().map(|(_, row)| JobLineRecord::from_bytes(row));
            Ok(lines
                .map(|line| line.map(JobLine::from))
                .collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn claimed(id: JobId, job: JobRecord) -> Claimed {
    Claimed {
        id,
        kind: job.kind,
        spec: job.spec,
        who: job.who,
        attempts: job.attempts,
    }
}

/// The first job whose time has come: it is queued, or who ran it has not been heard of for too long.
fn due(get: &impl Get, but: &[&str]) -> Result<Option<(JobId, JobRecord)>, JobError> {
    let now = get.running_ms();
    let mut jobs = all(get, JobId(0), KEPT)?.into_iter();
    Ok(jobs.find(|(_, job)| {
        !but.contains(&job.kind.as_str())
            && match job.state() {
                JobState::Queued => job.not_before <= now,
                JobState::Running => !job.needs && job.claimed_until < now,
                _ => false,
            }
    }))
}

fn begin(
    tx: &mut Txn<'_>,
    id: JobId,
    job: &mut JobRecord,
    claim: u64,
    at_ms: u64,
) -> Result<(), JobError> {
    job.state = JobState::Running.code();
    (job.claim, job.claimed_until) = (claim, tx.running_ms() + LEASE.as_millis() as u64);
    job.begun_ms = at_ms;
    job.attempts = job.attempts.saturating_add(1);
    job.error.clear();
    job.remedy.clear();
    log(tx, id, job, at_ms, ("begun", ""))?;
    Ok(())
}

/// Notes how a run ended; answers what the log says of it.
fn close(job: &mut JobRecord, outcome: &Outcome, now: u64) -> String {
    let (state, text) = match outcome {
        Outcome::Done(result) => {
            job.result.clone_from(result);
            (JobState::Done, "done".to_owned())
        }
        Outcome::Cancelled => (JobState::Cancelled, "ended, as somebody wanted".to_owned()),
        Outcome::Waits(why) => (JobState::Waiting, why.clone()),
        Outcome::Failed {
            error,
            remedy,
            again,
        } => {
            job.error.clone_from(error);
            job.remedy = written(remedy.as_ref());
            if *again && job.attempts < ATTEMPTS && !job.cancel {
                let pause = pause(job.attempts, job.made_ms);
                job.not_before = now + pause;
                let text = format!("{error}; the next try is in {} s", pause / 1000);
                (JobState::Queued, text)
            } else {
                (JobState::Failed, error.clone())
            }
        }
    };
    job.state = state.code();
    text
}

/// How long to wait after so many tries (ms): twice as long each time, and up to a fifth more, so that many that failed at
/// once do not come again at once.
fn pause(attempts: u32, seed: u64) -> u64 {
    let doubled = PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let pause = doubled.min(LONGEST);
    pause + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (pause / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour() {
        for (attempts, least) in [(1, 30), (2, 60), (3, 120), (8, 3600), (60, 3600)] {
            let pause = pause(attempts, 1_700_000_000_123) / 1000;
            assert!(
                (least..=least + least / 5).contains(&pause),
                "{attempts}: {pause}"
            );
        }
    }
}
