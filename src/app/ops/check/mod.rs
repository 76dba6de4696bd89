//! Checks, and fetching damaged contents again.

mod refetch;
mod run;

pub use refetch::{Refetch, Refetched, RefetchedAll};
pub use run::Check;
