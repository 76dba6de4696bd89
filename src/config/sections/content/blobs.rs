//! `[blobs]`: content without a name yet, and the disk that it may take.

use crate::config::key::{seconds, size};
use crate::config::section::section;
use crate::config::sections::UNDOES;

section! {
    /// Content without a name yet, and the disk that it may take.
    pub struct BlobSettings {
        /// Life of a blob that no manifest names, in seconds; never 0.
        pub lease_seconds: u64 = seconds("blobs.lease", "24h")
            .doc("How long an uploaded blob is kept that no manifest names yet.")
            .not_zero(UNDOES)
            .restart(),
        /// Free disk space that pushes leave alone, in bytes.
        pub reserve_bytes: u64 = size("blobs.reserve", "1GiB")
            .doc("Free disk space that pushes leave alone; one that would need it, be it a tag, is refused with 507.\nBeside it 32 MiB are set aside for deletes (DIR/reserve).")
            .restart(),
    }
}
