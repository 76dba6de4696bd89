//! A request's bytes on their way into an upload: piece by piece, and when what came is saved.

mod adopt;
pub(in crate::repo) mod piece;
pub(in crate::repo) mod receive;
pub(in crate::repo) mod saving;
