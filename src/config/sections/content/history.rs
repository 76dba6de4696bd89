//! `[history]`: how long the past stays.

use crate::config::key::seconds;
use crate::config::section::section;

section! {
    /// How long the past stays.
    pub struct HistorySettings {
        /// Time in which what was removed can be restored, in seconds.
        pub keep_seconds: u64 = seconds("history.keep", "30d")
            .doc("How long removed tags and untagged manifests stay restorable and keep their bytes.\nA repository may have its own: `dryport repo set NAME --history-keep 90d`.")
            .restart(),
    }
}
