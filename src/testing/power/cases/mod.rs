//! Single cases: one thing that is cut off, or held up, at just the step that matters.

mod adopting;
mod budget;
pub(super) mod closing;
pub(super) mod compacting;
mod contract;
pub(super) mod full;
pub(super) mod growing;
mod taken_up;
