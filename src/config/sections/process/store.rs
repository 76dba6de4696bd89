//! `[store]`: the metadata store.

use crate::config::key::{size, switch};
use crate::config::section::section;

section! {
    /// The metadata store.
    pub struct StoreSettings {
        /// Its memory, in bytes.
        pub cache_bytes: u64 = size("store.cache", "64MiB")
            .doc("Memory for the metadata store.")
            .restart(),
        /// An upgrade goes on without a copy where the disk has no room for one.
        pub upgrade_without_copy: bool = switch("store.upgrade_without_copy", false)
            .doc("Upgrade the database of an older version without a copy of it, where the disk has no room for one. There is no way\nback to the older version then; the upgrade itself is one transaction, and a kill meanwhile loses nothing.")
            .restart(),
    }
}
