//! Quotas.

pub mod exact;
pub mod full_history;
pub mod history;
pub mod nested;
pub mod uploads;
