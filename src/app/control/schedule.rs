//! Schedules of jobs, as the control API sees them.

use super::work::OPERATOR;
use super::{Fault, MirrorJob, Reply};
use crate::app::App;
use crate::jobs::Schedule;
use crate::types::ScheduleId;
use serde::{Deserialize, Serialize};

/// Something about schedules.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum ScheduleRequest {
    /// Has a copy made again and again. Answered by [`Reply::Scheduled`].
    Mirror {
        /// What each run does; it may need neither credentials nor a certificate.
        job: Box<MirrorJob>,
        /// When they run.
        schedule: Schedule,
    },
    /// Every schedule. Answered by [`Reply::Schedules`].
    List,
    /// Removes a schedule; a job of it that is under way goes on.
    Remove {
        /// Its number.
        id: ScheduleId,
    },
}

impl ScheduleRequest {
    /// The request's name for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mirror { .. } => "schedule-mirror",
            Self::List => "schedule-list",
            Self::Remove { .. } => "schedule-remove",
        }
    }
}

/// Does what is asked of schedules.
pub(super) async fn run(app: &App, request: ScheduleRequest) -> Result<Reply, Fault> {
    let runner = &app.runner;
    match request {
        ScheduleRequest::Mirror { job, schedule } => {
            let made = runner.plan_mirror(*job, schedule, OPERATOR).await?;
            Ok(Reply::Scheduled(Box::new(made)))
        }
        ScheduleRequest::List => Ok(Reply::Schedules {
            schedules: runner.jobs().await?.schedules().await?,
        }),
        ScheduleRequest::Remove { id } => {
            runner.jobs().await?.unplan(id).await?;
            Ok(Reply::Done)
        }
    }
}
