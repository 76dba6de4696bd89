//! From what was asked for to a plan: the walk over an image and what is attached to it, the platforms chosen, and what that
//! may cost. Copies no blob.

pub(super) mod attached;
pub(super) mod budget;
pub(super) mod plan;
pub(super) mod platform;
pub(super) mod visit;
