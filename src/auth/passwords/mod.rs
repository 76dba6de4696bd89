//! Passwords: their hashes, what a login with one costs, and how failed ones are slowed. Decides no right.

pub(super) mod delay;
pub(super) mod login;
pub(super) mod password;
