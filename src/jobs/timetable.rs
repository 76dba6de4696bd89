//! What happens to schedules, one transaction each: they are made, queue a job when their time has come, and are removed.
//!
//! Times that passed while no server ran count once. Never are two jobs of one schedule under way.

use super::fresh::{KEPT, fresh, thin};
use super::record::{Clocks, JobRecord, ScheduleRecord};
use super::rows::{
    SCHEDULES, all, erase_schedule, find, find_schedule, log, next_schedule, put, put_schedule,
    schedules, tell,
};
use super::{JobError, JobState, Jobs, NewJob, Rhythm, Schedule, ScheduleError, ScheduleView};
use crate::store::feed::FeedKind;
use crate::store::{Get, Need, Txn};
use crate::types::{JobId, ScheduleId, wall_ms};
use std::time::Duration;

/// A schedule to be made.
#[derive(Debug, Clone)]
pub struct NewSchedule {
    /// What each of its jobs is.
    pub job: NewJob,
    /// When they run.
    pub schedule: Schedule,
}

/// What a look at the schedules came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Jobs that were queued.
    pub queued: usize,
    /// How long it is until the next time of any; none where there are no schedules.
    pub wait: Option<Duration>,
}

impl Jobs {
    /// Remembers a schedule. One with an interval has its first time now.
    ///
    /// # Errors
    /// [`JobError::Alone`] where its jobs need what only a command can give, [`JobError::Schedule`] where the rule cannot be
    /// kept.
    pub async fn plan(&self, new: NewSchedule) -> Result<ScheduleView, JobError> {
        let (at_ms, random) = (wall_ms(), random()?);
        new.job.check()?;
        if new.job.needs {
            return Err(JobError::Alone);
        }
        new.schedule.check(at_ms)?;
        let plan = move |tx: &mut Txn<'_>| {
            let found = schedules(tx)?.len();
            if found >= SCHEDULES {
                return Err(JobError::ManySchedules(found));
            }
            let clocks = clocks(tx, at_ms);
            let row = first(&new, clocks, random)?;
            let id = next_schedule(tx)?;
            put_schedule(tx, id, &row)?;
            tell(
                tx,
                FeedKind::Schedule,
                id.0,
                at_ms,
                (&new.job.who, "schedule.make"),
            )?;
            Ok(ScheduleView::of(id, row, None, clocks))
        };
        self.write(Need::Grows, "schedule.make", plan).await
    }

    /// Every schedule, the oldest first.
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, JobError> {
        let at_ms = wall_ms();
        self.read(move |r| {
            let clocks = clocks(r, at_ms);
            let mut views = Vec::new();
            for (id, row) in schedules(r)? {
                let last = state_of(r, JobId(row.last_job))?;
                views.push(ScheduleView::of(id, row, last, clocks));
            }
            Ok(views)
        })
        .await
    }

    /// Removes a schedule. A job of it that is under way goes on.
    pub async fn unplan(&self, id: ScheduleId) -> Result<(), JobError> {
        let at_ms = wall_ms();
        let remove = move |tx: &mut Txn<'_>| {
            find_schedule(tx, id)?;
            erase_schedule(tx, id)?;
            tell(tx, FeedKind::Schedule, id.0, at_ms, ("", "schedule.remove"))?;
            Ok(())
        };
        self.write(Need::Keeps, "schedule.remove", remove).await
    }

    /// Queues a job for each schedule whose time has come.
    pub async fn tick(&self) -> Result<Tick, JobError> {
        let at_ms = wall_ms();
        let look = self.read(move |r| {
            let clocks = clocks(r, at_ms);
            let (mut due, mut wait) = (Vec::new(), None);
            for (id, row) in schedules(r)? {
                if is_due(&row, clocks) {
                    due.push(id);
                } else {
                    let left = row.at - row.now(clocks);
                    wait = Some(wait.map_or(left, |least: u64| least.min(left)));
                }
            }
            Ok((due, wait))
        });
        let (due, wait) = look.await?;
        let (mut queued, mut wait) = (0, wait.map(Duration::from_millis));
        for id in due {
            match self.fire(id, at_ms).await {
                Ok(has_queued) => {
                    queued += usize::from(has_queued);
                    // Its next time is looked up at once.
                    wait = Some(Duration::ZERO);
                }
                // The others do not wait for this one.
                Err(error) => {
                    tracing::warn!(schedule = %id, %error, "a schedule whose time has come queues nothing for now");
                }
            }
        }
        Ok(Tick { queued, wait })
    }

    /// Queues a job of one schedule if its time has come; whether it did.
    async fn fire(&self, id: ScheduleId, at_ms: u64) -> Result<bool, JobError> {
        let random = random()?;
        let fire = move |tx: &mut Txn<'_>| {
            let mut row = match find_schedule(tx, id) {
                // It was removed meanwhile.
                Err(JobError::UnknownSchedule(_)) => return Ok(false),
                row => row?,
            };
            let clocks = clocks(tx, at_ms);
            if !is_due(&row, clocks) {
                return Ok(false);
            }
            let has_come = row.at <= row.now(clocks);
            advance(&mut row, clocks, random)?;
            let queues = match under_way(tx, &row)? {
                // The clock was put back: only the next time is another one.
                _ if !has_come => false,
                Some(job) => {
                    (row.last_job, row.skipped) = (job.0, row.skipped + 1);
                    false
                }
                None => {
                    row.last_job = queue(tx, id, &row, at_ms)?.0;
                    row.runs += 1;
                    true
                }
            };
            put_schedule(tx, id, &row)?;
            Ok(queues)
        };
        self.write(Need::Grows, "schedule.fire", fire).await
    }
}

fn random() -> Result<u64, JobError> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|e| JobError::Task(e.to_string()))?;
    Ok(u64::from_be_bytes(number))
}

fn clocks(get: &impl Get, wall_ms: u64) -> Clocks {
    Clocks {
        wall_ms,
        running_ms: get.running_ms(),
    }
}

/// The row of a new schedule.
fn first(new: &NewSchedule, clocks: Clocks, random: u64) -> Result<ScheduleRecord, JobError> {
    let NewSchedule { job, schedule } = new;
    let mut row = ScheduleRecord {
        kind: job.kind.clone(),
        what: job.what.clone(),
        spec: job.spec.clone(),
        who: job.who.clone(),
        made_ms: clocks.wall_ms,
        every_ms: 0,
        cron: String::new(),
        zone: String::new(),
        jitter_ms: schedule.jitter_ms,
        base: 0,
        at: 0,
        last_job: 0,
        runs: 0,
        skipped: 0,
    };
    match &schedule.rhythm {
        Rhythm::Every { every_ms } => {
            row.every_ms = *every_ms;
            (row.base, row.at) = (clocks.running_ms, clocks.running_ms);
        }
        Rhythm::Cron { cron, zone } => {
            (row.cron, row.zone) = (cron.clone(), zone.clone());
            row.base = schedule.next(clocks.wall_ms)?;
            row.at = row.base + schedule.late(random);
        }
    }
    Ok(row)
}

/// Whether its time has come, or lies where the rule has none so late: then the clock was wrong when that was noted.
fn is_due(row: &ScheduleRecord, clocks: Clocks) -> bool {
    let now = row.now(clocks);
    row.at <= now || row.schedule().next(now).is_ok_and(|next| next < row.base)
}

/// Sets the next time: after now, so that all that were missed count as the one that has come.
fn advance(row: &mut ScheduleRecord, clocks: Clocks, random: u64) -> Result<(), ScheduleError> {
    let (schedule, now) = (row.schedule(), row.now(clocks));
    let kept = match schedule.rhythm {
        // The rhythm stays what it was, unless a time of it was missed.
        Rhythm::Every { .. } => Some(schedule.next(row.base)?).filter(|next| *next > now),
        Rhythm::Cron { .. } => None,
    };
    row.base = match kept {
        Some(next) if row.base <= now => next,
        _ => schedule.next(now)?,
    };
    row.at = row.base + schedule.late(random);
    Ok(())
}

/// The job that a new one of this schedule would be beside: its last one, or one with the same input.
fn under_way(get: &impl Get, row: &ScheduleRecord) -> Result<Option<JobId>, JobError> {
    if state_of(get, JobId(row.last_job))?.is_some_and(|state| !state.has_ended()) {
        return Ok(Some(JobId(row.last_job)));
    }
    let mut jobs = all(get, JobId(0), KEPT)?.into_iter();
    let found = jobs.find(|(_, job)| {
        let goes_on = matches!(job.state(), JobState::Running | JobState::Queued);
        goes_on && job.kind == row.kind && job.spec == row.spec
    });
    Ok(found.map(|(id, _)| id))
}

/// What a job is doing, if it is remembered.
fn state_of(get: &impl Get, id: JobId) -> Result<Option<JobState>, JobError> {
    if id.0 == 0 {
        return Ok(None);
    }
    match find(get, id) {
        Ok(job) => Ok(Some(JobRecord::state(&job))),
        Err(JobError::Unknown(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Queues a job of this schedule.
fn queue(
    tx: &mut Txn<'_>,
    id: ScheduleId,
    row: &ScheduleRecord,
    at_ms: u64,
) -> Result<JobId, JobError> {
    let new = NewJob {
        kind: row.kind.clone(),
        what: row.what.clone(),
        spec: row.spec.clone(),
        needs: false,
        who: format!("schedule {id}"),
    };
    thin(tx, &new.who)?;
    let (job_id, mut job) = fresh(tx, &new, at_ms)?;
    log(tx, job_id, &mut job, at_ms, ("its time has come", ""))?;
    put(tx, job_id, &job)?;
    Ok(job_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn row(rhythm: Rhythm, clocks: Clocks) -> ScheduleRecord {
        let job = NewJob {
            kind: "mirror".into(),
            what: "what".into(),
            spec: "{}".into(),
            needs: false,
            who: "operator".into(),
        };
        let schedule = Schedule {
            rhythm,
            jitter_ms: 0,
        };
        first(&NewSchedule { job, schedule }, clocks, 7).expect("a row")
    }

    const fn at(wall_ms: u64, running_ms: u64) -> Clocks {
        Clocks {
            wall_ms,
            running_ms,
        }
    }

    #[test]
    fn an_interval_begins_at_once_and_keeps_its_rhythm() {
        let mut row = row(Rhythm::Every { every_ms: HOUR }, at(1, 1000));
        assert!(is_due(&row, at(1, 1000)));
        advance(&mut row, at(1, 1500), 0).expect("a time");
        assert_eq!(row.at, 1000 + HOUR);
        assert!(!is_due(&row, at(u64::MAX / 2, HOUR)));
        // It was looked at late: the times between count once, and the next is a whole interval away.
        let late = at(1, 1000 + 5 * HOUR);
        assert!(is_due(&row, late));
        advance(&mut row, late, 0).expect("a time");
        assert_eq!(row.at, 1000 + 6 * HOUR);
    }

    #[test]
    fn a_time_that_was_missed_often_counts_once() {
        let cron = || Rhythm::Cron {
            cron: "0 * * * *".into(),
            zone: "UTC".into(),
        };
        let mut row = row(cron(), at(10, 0));
        assert_eq!(row.at, HOUR);
        let late = at(9 * HOUR + 5, 0);
        assert!(is_due(&row, late));
        advance(&mut row, late, 0).expect("a time");
        assert_eq!(row.at, 10 * HOUR);
        assert!(!is_due(&row, late));
    }

    #[test]
    fn a_clock_that_was_years_ahead_does_not_keep_it_waiting() {
        let cron = Rhythm::Cron {
            cron: "0 * * * *".into(),
            zone: "UTC".into(),
        };
        let mut row = row(cron, at(1_000_000 * HOUR + 1, 0));
        let now = at(100 * HOUR + 1, 0);
        assert!(is_due(&row, now));
        advance(&mut row, now, 0).expect("a time");
        assert_eq!(row.at, 101 * HOUR);
    }
}
