//! Jobs and schedules.

pub mod kinds;
pub mod mirror_runs;
pub mod schedules;
