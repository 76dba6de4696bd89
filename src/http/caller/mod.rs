//! Who calls: from where, with which credentials, and what that allows.

pub mod credentials;
pub mod origin;
mod rights;
