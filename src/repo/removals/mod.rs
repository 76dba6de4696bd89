//! What goes, and what is gone: deleted repositories, content files that are removed while others come, and files that are lost.

pub(super) mod deletion;
pub(super) mod lost;
pub(super) mod removal;
