//! What is known of a request before a surface answers it.

pub mod front;
mod incoming;
mod query;
mod req;

pub use incoming::Incoming;
pub use query::{Query, QueryError};
pub use req::Req;
