//! Rows about what has a name: items, what they name and what keeps that.

pub(super) mod children;
pub(super) mod history;
pub(super) mod items;
pub(super) mod refs;
pub(super) mod tags;
