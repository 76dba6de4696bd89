//! What no change carries into the feed, gathered in memory until its rows are written: pulls, and what failed or was refused.

mod allowance;
pub(super) mod pulls;
pub(super) mod refused;
