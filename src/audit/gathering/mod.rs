//! What no change carries into the feed, gathered in memory until its rows are written: pulls, and what failed or was refused.

pub(super) mod pulls;
pub(super) mod refused;
