//! Schedules of jobs.

mod list;
mod mirror;
mod remove;

pub use list::{ScheduleList, Schedules};
pub use mirror::ScheduleMirror;
pub use remove::ScheduleRemove;
