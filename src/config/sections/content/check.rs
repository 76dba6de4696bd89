//! `[check]`: reading all content again, to find what the disk lost.

use crate::config::key::{seconds, size};
use crate::config::section::section;

section! {
    /// Reading all content again.
    pub struct CheckSettings {
        /// Time in which all of it is read once, in seconds; 0 is never.
        pub every_seconds: u64 = seconds("check.every", "30d")
            .doc("In this time every blob is read once and compared with its digest; 0s turns that off.")
            .restart(),
        /// Most bytes read a second.
        pub rate_bytes: u64 = size("check.rate", "32MiB")
            .doc("Most bytes that reading all blobs takes from the disk a second.")
            .restart(),
    }
}
