//! What part of something is asked for: some entries of a list, some bytes of a content.

pub(super) mod page;
pub(super) mod range;
