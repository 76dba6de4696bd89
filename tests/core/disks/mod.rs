//! Disks that are full, faulty or slow.

pub mod faulty;
pub mod full;
pub mod open_files;
pub mod reserve;
