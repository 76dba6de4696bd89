//! `[log]`: what the log shows.

use crate::config::key::{filter, millis};
use crate::config::section::section;

section! {
    /// What the log shows.
    pub struct LogSettings {
        /// A tracing filter, such as `info` or `info,dryport::http=debug`.
        pub level: String = filter("log.level", "info")
            .doc("error, warn, info, debug or trace; a module may have its own: \"info,dryport::http=debug\".")
            .restart(),
        /// Time from which on an operation is called slow, in ms; 0 logs none.
        pub slow_ms: u64 = millis("log.slow", "1s")
            .doc("Log operations that take longer than this; 0s logs none."),
    }
}
