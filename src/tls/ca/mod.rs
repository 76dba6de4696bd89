//! The local CA: what it may sign for, how it and its leaf are made and renewed, and how clients are told to trust it.

pub(super) mod constraints;
pub(super) mod issue;
pub(super) mod local;
pub(super) mod trust;
