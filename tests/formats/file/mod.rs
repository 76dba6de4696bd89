//! Files at paths.

pub mod access;
pub mod conditions;
pub mod folders;
pub mod parts;
pub mod past;
pub mod push;
pub mod push_folder;
pub mod reading;
pub mod titles;
