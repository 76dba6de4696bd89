//! `[uploads]`: unfinished uploads.

use crate::config::key::seconds;
use crate::config::section::section;
use crate::config::sections::UNDOES;

section! {
    /// Unfinished uploads.
    pub struct UploadSettings {
        /// Time without bytes after which one is dropped, in seconds; never 0.
        pub idle_seconds: u64 = seconds("uploads.idle", "24h")
            .doc("An upload that gets no bytes for this long is dropped.")
            .not_zero(UNDOES)
            .restart(),
    }
}
