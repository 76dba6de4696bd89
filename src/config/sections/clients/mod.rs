//! Sections about clients: how they reach the server, what they may do and how much one of them may take.

mod access;
mod limits;
mod listen;
mod metrics;
mod serve;
mod tls;

pub use access::Access;
pub use limits::Limits;
pub use listen::Listen;
pub use metrics::{LocalMetrics, Metrics};
pub use serve::Serve;
pub use tls::{Http2, Tls};

/// What 0 would do in a setting without which nobody is served.
const SHUTS_OUT: &str = "which would let nobody in; leave it out for the default";
