//! Who calls: from where, and with which credentials.

pub mod credentials;
pub mod origin;
