//! The collector.

pub mod bounds;
pub mod searches;
pub mod sweep;
