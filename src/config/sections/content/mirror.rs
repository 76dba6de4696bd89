//! `[mirror]`: runs of mirrors.

use crate::config::key::size;
use crate::config::section::section;

section! {
    /// Runs of mirrors.
    pub struct MirrorSettings {
        /// Memory for what one run knows, in bytes.
        pub memory_bytes: u64 = size("mirror.memory", "256MiB")
            .doc("Memory for the manifests of one `dryport mirror` run and the lists of what belongs to them (1 MiB at least); an image\nthat needs more is refused with its size.")
            .at_least(1 << 20),
    }
}
