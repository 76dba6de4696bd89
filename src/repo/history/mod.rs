//! What repositories showed before: reads as of a revision.
//!
//! Owns the reading of the past. Must not decide how long the past is kept: that is `reclaim`'s and `quota`'s.

pub(in crate::repo) mod items_at;
pub(in crate::repo) mod moment;
pub(in crate::repo) mod tags_at;
