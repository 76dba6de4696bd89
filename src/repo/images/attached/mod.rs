//! What refers to a manifest: referrers, lists of them under a tag, and parts of an index that name a subject.

pub(in crate::repo) mod lists;
pub(in crate::repo) mod parts;
pub(in crate::repo) mod referrers;
