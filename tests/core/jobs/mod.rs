//! Jobs and schedules.

pub mod hints;
pub mod kinds;
pub mod mirror_runs;
pub mod schedules;
