//! `[gc]`: when what nothing needs any more goes.

use crate::config::key::{count, millis};
use crate::config::section::section;

section! {
    /// When what nothing needs any more goes.
    pub struct GcSettings {
        /// Time between two looks, in ms; 0 is never.
        pub interval_ms: u64 = millis("gc.interval", "1m")
            .doc("How often what nothing needs any more is looked for; 0s leaves that to `dryport gc`.")
            .restart(),
        /// Most files removed a second; 0 is no limit.
        pub files_per_second: u64 = count("gc.files_per_second", "2000")
            .doc("Most content files that a collection removes a second; 0 is no limit.")
            .restart(),
    }
}
