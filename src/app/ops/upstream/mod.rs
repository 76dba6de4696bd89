//! Upstreams: other registries that this one fetches from on demand.

mod add;
mod guard;
mod list;
mod remove;
mod set;
mod show;
mod test;

pub use add::UpstreamAdd;
pub use list::{UpstreamList, UpstreamViews};
pub use remove::{UpstreamRemove, UpstreamRemoved};
pub use set::UpstreamSet;
pub use show::UpstreamShow;
pub use test::UpstreamTry;
