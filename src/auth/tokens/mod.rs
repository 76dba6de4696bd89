//! Tokens: what docker's token service issues and reads back, and the scopes that tokens are for. Decides no right.

pub(super) mod scope;
pub(super) mod service;
pub(super) mod token;
