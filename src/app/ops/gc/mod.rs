//! The collector.

mod survey;
mod sweep;

pub use survey::GcSurvey;
pub use sweep::GcSweep;
