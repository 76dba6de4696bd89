//! The first row of a job, and the room for it: ended jobs are remembered until newer ones need their place.

use super::record::JobRecord;
use super::rows::{all, erase, next_job};
use super::{JobError, JobState, NewJob};
use crate::store::Txn;
use crate::types::JobId;

/// Jobs that are remembered, ended ones among them: the oldest of those go first.
pub(super) const KEPT: usize = 500;
/// Ended jobs that are remembered of one schedule: one that runs often leaves room for the others.
const KEPT_OF_ONE: usize = 20;
/// The longest input in bytes.
const SPEC: usize = 32 << 10;

impl NewJob {
    /// Refuses what does not fit into a row.
    pub(super) fn check(&self) -> Result<(), JobError> {
        if self.spec.len() > SPEC {
            return Err(JobError::Long(self.spec.len()));
        }
        Ok(())
    }
}

/// A number and a queued row for a new job; the row is not written yet.
pub(super) fn fresh(
    tx: &mut Txn<'_>,
    new: &NewJob,
    at_ms: u64,
) -> Result<(JobId, JobRecord), JobError> {
    make_room(tx)?;
    let job = JobRecord {
        kind: new.kind.clone(),
        what: new.what.clone(),
        spec: new.spec.clone(),
        needs: new.needs,
        state: JobState::Queued.code(),
        who: new.who.clone(),
        made_ms: at_ms,
        begun_ms: 0,
        ended_ms: 0,
        attempts: 0,
        not_before: 0,
        claim: 0,
        claimed_until: 0,
        cancel: false,
        progress: String::new(),
        result: String::new(),
        error: String::new(),
        remedy: String::new(),
        lines: 0,
    };
    Ok((next_job(tx)?, job))
}

/// Forgets the oldest ended jobs beyond what is kept; refused where too many have not ended.
fn make_room(tx: &mut Txn<'_>) -> Result<(), JobError> {
    let jobs = all(tx, JobId(0), 2 * KEPT)?;
    let mut over = (jobs.len() + 1).saturating_sub(KEPT);
    for (id, job) in &jobs {
        if over > 0 && job.state().has_ended() {
            erase(tx, *id)?;
            over -= 1;
        }
    }
    if over > 0 {
        Err(JobError::Many(KEPT))
    } else {
        Ok(())
    }
}

/// Forgets the oldest ended jobs of one who asked, beyond what is kept of it.
pub(super) fn thin(tx: &mut Txn<'_>, who: &str) -> Result<(), JobError> {
    let jobs = all(tx, JobId(0), 2 * KEPT)?;
    let ended = jobs.iter().rev();
    let ended = ended.filter(|(_, job)| job.state().has_ended() && job.who == who);
    for (id, _) in ended.skip(KEPT_OF_ONE - 1) {
        erase(tx, *id)?;
    }
    Ok(())
}
