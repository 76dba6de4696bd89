//! `[serve]`: how long connections live, and how their bytes are sent.

use super::SHUTS_OUT;
use crate::config::key::{choice, millis, seconds};
use crate::config::section::section;
use crate::config::sections::UNDOES;

section! {
    /// How long connections live, and how their bytes are sent.
    pub struct ServeSettings {
        /// Time for transfers that run when the server is told to stop, in seconds.
        pub drain_seconds: u64 = seconds("serve.drain", "30s")
            .doc("How long running transfers may go on after the server was told to stop."),
        /// Time without progress after which a connection is closed, in seconds; never 0.
        pub progress_seconds: u64 = seconds("serve.progress", "60s")
            .doc("A connection on which so long nothing moves, or less than 4 KiB of a body, is closed. There is no limit for a\nwhole transfer.")
            .not_zero(UNDOES),
        /// Time without a whole request after which a connection is closed, in ms; never 0.
        pub idle_ms: u64 = millis("serve.idle", "75s")
            .doc("A connection that brings no whole request for this long is closed.")
            .not_zero(SHUTS_OUT)
            .restart(),
        /// The kernel sends files by itself where it can.
        pub sendfile: bool = choice("serve.sendfile", &["auto", "off"], "auto", |word| Ok(word != "off"))
            .doc("Over plain HTTP/1.1 the kernel sends by itself what it has in memory of a file (auto). off: all bytes are copied."),
    }
}
