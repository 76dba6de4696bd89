//! `[cache]`: memory for answers.

use crate::config::key::size;
use crate::config::section::section;

section! {
    /// Memory for answers.
    pub struct CacheSettings {
        /// In bytes.
        pub memory_bytes: u64 = size("cache.memory", "256MiB")
            .doc("Memory for manifests, small blobs and look-ups.")
            .restart(),
    }
}
