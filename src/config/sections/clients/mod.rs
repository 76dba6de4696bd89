//! Sections about clients: how they reach the server, what they may do and how much one of them may take.

mod access;
mod limits;
mod listen;
mod metrics;
mod serve;
mod tls;

pub use access::AccessSettings;
pub use limits::LimitSettings;
pub use listen::ListenSettings;
pub use metrics::{LocalMetrics, MetricsSettings};
pub use serve::ServeSettings;
pub use tls::{Http2Setting, TlsSettings};

/// What 0 would do in a setting without which nobody is served.
const SHUTS_OUT: &str = "which would let nobody in; leave it out for the default";
