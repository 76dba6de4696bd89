//! The families of URLs that this server answers.

pub mod health;
pub mod oci;
pub mod route;
pub mod tree;
