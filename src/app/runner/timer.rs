//! Looks when the schedules have their time, and makes them: what they queue is run as all else in the queue.
//!
//! When that is, and what counts once, is decided in [`crate::jobs`].

use super::{LOOK, Runner, Task};
use crate::app::ops::{Fault, MirrorJob};
use crate::jobs::{NewJob, NewSchedule, Schedule, ScheduleView};
use crate::mirror;
use crate::types::RepoName;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

impl Runner {
    /// Has a copy made again and again.
    ///
    /// # Errors
    /// What no run could do is refused now: a name that does not read, or a need for what only a command can give.
    pub async fn plan_mirror(
        &self,
        job: MirrorJob,
        schedule: Schedule,
        who: &str,
    ) -> Result<ScheduleView, Fault> {
        mirror::check(&job.source, &job.platforms)?;
        job.to.as_deref().map(str::parse::<RepoName>).transpose()?;
        let task = Task::Mirror(Box::new(job));
        let (spec, needs) = task.kept()?;
        let job = NewJob {
            kind: task.kind().into(),
            what: task.what(),
            spec,
            needs,
            who: who.to_owned(),
        };
        let view = self
            .jobs()
            .await?
            .plan(NewSchedule { job, schedule })
            .await?;
        self.0.planned.notify_one();
        Ok(view)
    }

    /// Queues what the schedules say until `stop`.
    pub async fn keep_time(self, stop: CancellationToken) {
        loop {
            let tick = async { self.jobs().await?.tick().await };
            let wait = match tick.await {
                Ok(tick) => {
                    if tick.queued > 0 {
                        self.wake();
                    }
                    // The wall clock may be set at any time, and a machine may sleep.
                    tick.wait.map_or(LOOK, |wait| wait.min(LOOK))
                }
                Err(error) => {
                    tracing::warn!(%error, "the schedules cannot be read and are looked at again later");
                    LOOK
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.planned.notified() => {}
                () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
            }
        }
    }
}
