//! `[limits]`: what one client may take.

use super::SHUTS_OUT;
use crate::config::key::{count, size};
use crate::config::section::section;

section! {
    /// What one client may take.
    pub struct LimitSettings {
        /// The largest manifest, in bytes.
        pub manifest_bytes: u64 = size("limits.manifest", "4MiB")
            .doc("The largest manifest accepted; larger ones are refused with 413.")
            .between(1 << 10, 64 << 20, "the registry protocol asks for at least 4MiB"),
        /// Connections of one address; never 0.
        pub connections: u64 = count("limits.connections", "4000")
            .doc("Most connections of one address (an IPv6 /64 counts as one). Over it the longest idle one is closed, or the new\none where none is idle. Loopback and trusted_proxies may have three quarters of all; nobody may have more.")
            .not_zero(SHUTS_OUT)
            .restart(),
        /// Requests of one account or address at once; never 0.
        pub requests: u64 = count("limits.requests", "1000")
            .doc("Most requests at once of one account or, without one, of one address. More wait for 10 s, then they get 429.\nRequests without an account that come from loopback or trusted_proxies themselves are not counted.")
            .not_zero(SHUTS_OUT)
            .restart(),
        /// Unfinished uploads of one account or address; never 0.
        pub uploads: u64 = count("limits.uploads", "4000")
            .doc("Most unfinished uploads of one account or, without one, of one address; one more gets 429.")
            .not_zero(SHUTS_OUT)
            .restart(),
        /// Memory for all uploads together, in bytes.
        pub upload_memory_bytes: u64 = size("limits.upload_memory", "32MiB")
            .doc("Memory for the bytes of all uploads together; when it is used up, clients are made to send slower.")
            .at_least(4 << 20)
            .restart(),
    }
}
