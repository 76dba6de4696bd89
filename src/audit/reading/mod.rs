//! Reading the trail: rows by what is asked of them, as people see them, and whether they are what was written. Writes nothing.

pub(super) mod read;
pub(super) mod verify;
pub(super) mod view;
