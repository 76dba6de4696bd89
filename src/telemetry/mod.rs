//! Logs. Owns the tracing subscriber; reads no setting and no other module. Metrics are counted and written where
//! requests are: `http::metrics`.

mod access;
mod cut;
mod lines;
mod log;
mod shown;

pub use access::ACCESS;
pub use cut::cut;
pub use lines::{Log, lost_lines};
pub use log::{init, init_server, json_by_default};

/// Which kind of failure it was; the command line takes its exit code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetryErrorKind {
    /// The filter is not understood (exit code 2).
    Usage,
    /// Logging was set up before.
    Internal,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The text of `log.level`.
    #[error(
        "log.level \"{filter}\" is not understood ({why}); write error, warn, info, debug or trace, or such as \"info,dryport::http=debug\""
    )]
    Filter {
        /// As given.
        filter: String,
        /// What the parser said.
        why: String,
    },
    /// A second call of [`init`].
    #[error("logging is set up already: {0}")]
    Twice(String),
    /// The thread that writes lines cannot be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(std::io::Error),
}

impl TelemetryError {
    /// The kind, for the exit code.
    pub fn kind(&self) -> TelemetryErrorKind {
        match self {
            Self::Filter { .. } => TelemetryErrorKind::Usage,
            Self::Twice(_) | Self::Thread(_) => TelemetryErrorKind::Internal,
        }
    }
}
