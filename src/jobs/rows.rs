//! The keys of jobs, and their rows one at a time; all in the caller's transaction.

use super::JobError;
use super::record::{JobLineRecord, JobRecord};
use crate::store::key::{Key, Parts};
use crate::store::record::Record;
use crate::store::{Get, Row, StoreError, Table, Txn};
use crate::types::JobId;

/// Lines that a job's log keeps.
const LINES: u64 = 200;
/// Bytes of one of them.
const LINE: usize = 1000;

/// What follows a job's number in its own key, and in those of its log.
const JOB: u8 = 0;
const LOG: u8 = 1;

pub(super) fn key(id: JobId) -> Vec<u8> {
    Key::new().u64(id.0).u8(JOB).done()
}

fn line_key(id: JobId, line: u64) -> Vec<u8> {
    Key::new().u64(id.0).u8(LOG).u64(line).done()
}

/// The number of a job's own key; none for a line of a log.
pub(super) fn id_of(key: &[u8]) -> Option<JobId> {
    let mut parts = Parts(key);
    let id = JobId(parts.u64()?);
    (parts.u8()? == JOB).then_some(id)
}

/// A job's row.
pub(super) fn find(get: &impl Get, id: JobId) -> Result<JobRecord, JobError> {
    let row = get.get(Table::Jobs, &key(id))?;
    let row = row.ok_or(JobError::Unknown(id))?;
    Ok(JobRecord::from_bytes(&row)?)
}

pub(super) fn put(tx: &mut Txn<'_>, id: JobId, job: &JobRecord) -> Result<(), StoreError> {
    tx.put(Table::Jobs, &key(id), &job.to_bytes()?)
}

/// Every job after `after`, without their logs: one seek each.
pub(super) fn all(
    get: &impl Get,
    after: JobId,
    most: usize,
) -> Result<Vec<(JobId, JobRecord)>, StoreError> {
    let mut jobs = Vec::new();
    let mut from = key(JobId(after.0 + 1));
    while jobs.len() < most
        && let Some((found, row)) = get.scan(Table::Jobs, &from, &[], 1)?.pop()
    {
        let Some(id) = id_of(&found) else {
            // A log whose job is gone.
            from = [found.as_slice(), &[0]].concat();
            continue;
        };
        match JobRecord::from_bytes(&row) {
            Ok(job) => jobs.push((id, job)),
            // One that cannot be read keeps no other from its work.
            Err(error) => tracing::warn!(job = %id, %error, "the row of a job cannot be read"),
        }
        from = key(JobId(id.0 + 1));
    }
    Ok(jobs)
}

/// Adds a line to the log of a job, and drops the oldest beyond what is kept.
pub(super) fn log(
    tx: &mut Txn<'_>,
    id: JobId,
    job: &mut JobRecord,
    at_ms: u64,
    text: &str,
) -> Result<(), StoreError> {
    let text = text[..text.floor_char_boundary(LINE)].to_owned();
    let row = JobLineRecord { at_ms, text };
    tx.put(Table::Jobs, &line_key(id, job.lines), &row.to_bytes()?)?;
    if let Some(old) = job.lines.checked_sub(LINES) {
        tx.delete(Table::Jobs, &line_key(id, old))?;
    }
    job.lines += 1;
    Ok(())
}

/// The lines of a job's log, the oldest first.
pub(super) fn lines(get: &impl Get, id: JobId) -> Result<Vec<Row>, StoreError> {
    let (from, to) = Key::new().u64(id.0).u8(LOG).range();
    get.scan(Table::Jobs, &from, &to, LINES as usize + 1)
}

/// Drops a job with its log.
pub(super) fn erase(tx: &mut Txn<'_>, id: JobId) -> Result<(), StoreError> {
    for (key, _) in lines(tx, id)? {
        tx.delete(Table::Jobs, &key)?;
    }
    tx.delete(Table::Jobs, &key(id))
}
