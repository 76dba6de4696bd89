//! What each kind of repository means to its clients.

pub mod file;
pub mod oci;
