//! `[audit]`: how much of the audit trail is kept, and whether pulls stand in it.

use crate::config::key::{seconds, size, switch};
use crate::config::section::section;

section! {
    /// How much of the audit trail is kept, and whether pulls stand in it.
    pub struct AuditSettings {
        /// Time for which its rows are kept, in seconds.
        pub keep_seconds: u64 = seconds("audit.keep", "365d")
            .not_zero("which would keep nothing")
            .doc("How long the audit trail keeps its rows, while the server runs. `dryport audit export` saves them first."),
        /// Most bytes of it.
        pub max_size_bytes: u64 = size("audit.max_size", "256MiB")
            .at_least(1 << 20)
            .doc("How large the audit trail may get in the database: the oldest rows go first. A row takes about 300 bytes."),
        /// Pulls stand in it too.
        pub pulls: bool = switch("audit.pulls", true)
            .doc("Does the audit trail count pulls, by account, address and content, minute by minute?"),
    }
}
