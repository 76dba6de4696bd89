//! The keys of jobs and schedules, and their rows one at a time; all in the caller's transaction.

use super::JobError;
use super::record::{JobLineRecord, JobRecord, ScheduleRecord};
use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::key::{Key, Parts};
use crate::store::record::Record;
use crate::store::{Get, Row, StoreError, Table, Txn};
use crate::types::{JobId, ScheduleId};

/// Lines that a job's log keeps.
const LINES: u64 = 200;
/// Bytes of one of them.
const LINE: usize = 1000;

/// What follows a job's number in its own key, and in those of its log.
const JOB: u8 = 0;
const LOG: u8 = 1;
/// Schedules stand behind all jobs: under the last number, which no job has, and their own number.
const LAST: u64 = u64::MAX;
const SCHEDULE: u8 = 2;

/// Schedules that are kept at most.
pub(super) const SCHEDULES: usize = 500;

/// The rows of the next numbers.
const NEXT_JOB: &[u8] = b"next_job";
const NEXT_SCHEDULE: &[u8] = b"next_schedule";

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

/// Tells the feed of what somebody did to a job or a schedule. What they do by themselves is no news.
pub(super) fn tell(
    tx: &mut Txn<'_>,
    kind: FeedKind,
    number: u64,
    at_ms: u64,
    (who, why): (&str, &str),
) -> Result<(), StoreError> {
    if !tx.is_asked_for() {
        return Ok(());
    }
    let row = FeedRecord {
        kind: kind as u8,
        repo: 0,
        name: number.to_string(),
        rev: 0,
        at_ms,
        who: who.into(),
        why: why.into(),
        cause: FeedCause::None,
    };
    feed::tell(tx, row)
}

/// Every job after `after`, without their logs: one seek each.
pub(super) fn all(
    get: &impl Get,
    after: JobId,
    most: usize,
) -> Result<Vec<(JobId, JobRecord)>, StoreError> {
    let mut jobs = Vec::new();
    let (mut from, end) = (key(JobId(after.0 + 1)), key(JobId(LAST)));
    while jobs.len() < most
        && let Some((found, row)) = get.scan(Table::Jobs, &from, &end, 1)?.pop()
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

/// Adds a line to the log of a job, with a remedy as its row keeps it, and drops the oldest beyond what is kept.
pub(super) fn log(
    tx: &mut Txn<'_>,
    id: JobId,
    job: &mut JobRecord,
    at_ms: u64,
    (text, remedy): (&str, &str),
) -> Result<(), StoreError> {
    let row = JobLineRecord {
        at_ms,
        text: text[..text.floor_char_boundary(LINE)].to_owned(),
        remedy: remedy.to_owned(),
    };
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

/// The number of a new job.
pub(super) fn next_job(tx: &mut Txn<'_>) -> Result<JobId, StoreError> {
    next(tx, NEXT_JOB).map(JobId)
}

/// The number of a new schedule.
pub(super) fn next_schedule(tx: &mut Txn<'_>) -> Result<ScheduleId, StoreError> {
    next(tx, NEXT_SCHEDULE).map(ScheduleId)
}

fn next(tx: &mut Txn<'_>, row: &[u8]) -> Result<u64, StoreError> {
    let next = tx.get(Table::Meta, row)?;
    let next = next.and_then(|n| n.as_slice().try_into().ok());
    let next = next.map_or(1, u64::from_be_bytes);
    tx.put(Table::Meta, row, &(next + 1).to_be_bytes())?;
    Ok(next)
}

fn schedule_key(id: ScheduleId) -> Vec<u8> {
    Key::new().u64(LAST).u8(SCHEDULE).u64(id.0).done()
}

/// A schedule's row.
pub(super) fn find_schedule(get: &impl Get, id: ScheduleId) -> Result<ScheduleRecord, JobError> {
    let row = get.get(Table::Jobs, &schedule_key(id))?;
    let row = row.ok_or(JobError::UnknownSchedule(id))?;
    Ok(ScheduleRecord::from_bytes(&row)?)
}

pub(super) fn put_schedule(
    tx: &mut Txn<'_>,
    id: ScheduleId,
    row: &ScheduleRecord,
) -> Result<(), StoreError> {
    tx.put(Table::Jobs, &schedule_key(id), &row.to_bytes()?)
}

pub(super) fn erase_schedule(tx: &mut Txn<'_>, id: ScheduleId) -> Result<(), StoreError> {
    tx.delete(Table::Jobs, &schedule_key(id))
}

/// Every schedule, the oldest first.
pub(super) fn schedules(get: &impl Get) -> Result<Vec<(ScheduleId, ScheduleRecord)>, StoreError> {
    let (from, to) = Key::new().u64(LAST).u8(SCHEDULE).range();
    let mut all = Vec::new();
    for (key, row) in get.scan(Table::Jobs, &from, &to, SCHEDULES)? {
        let mut parts = Parts(&key[from.len()..]);
        let Some(id) = parts.u64().map(ScheduleId) else {
            continue;
        };
        match ScheduleRecord::from_bytes(&row) {
            Ok(schedule) => all.push((id, schedule)),
            Err(error) => {
                tracing::warn!(schedule = %id, %error, "the row of a schedule cannot be read");
            }
        }
    }
    Ok(all)
}
