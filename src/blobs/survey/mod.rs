//! Looking at what lies there: content files are read again, files that are not ours are named, and what is wrong goes into
//! quarantine.

pub(super) mod odd;
pub(super) mod quarantine;
pub(super) mod scrub;
