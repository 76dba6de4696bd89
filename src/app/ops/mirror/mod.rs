//! Copies from other registries.

mod run;

pub use run::MirrorJob;
pub(in crate::app) use run::run;
pub(super) use run::trusting;
