//! What a change asks of the disk: whether it grows, and what of a full disk it may have.
//!
//! Every change says so when it is handed to the store ([`Need`]); the writer asks the disk for the bytes of those that grow
//! ([`bytes`]) before they are merged into a batch.

use super::reserve::Lent;
use super::txn::Overlay;

/// redb's page: a row that changes may cost one.
const PAGE: usize = 4096;
/// The pages above the rows, and what redb keeps of its own.
const REST: usize = 64 << 10;

/// What a change may have where the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It adds rows or content: it is refused ([`super::StoreError::Full`]) unless there is room for it above the reserve, of
    /// which it never gets anything. Only such a change may put content.
    Grows,
    /// It removes for a client, or renews what is there. The few rows that it adds (history, due rows) may have half of the
    /// reserve: clients alone cannot use it up.
    Removes,
    /// The collector, the operator's own commands, and what the server must note for itself, all of which is little: it may
    /// have all of the reserve.
    Keeps,
}

impl Need {
    /// What its batch is lent of the reserve.
    pub(super) fn lent(self) -> Lent {
        match self {
            Self::Grows => Lent::Nothing,
            Self::Removes => Lent::Half,
            Self::Keeps => Lent::All,
        }
    }
}

/// Bytes that changes may take of the disk, and rather more than they will: a page for each row beside what it holds, the
/// pages above them, and the state of redb's allocator for a file of this length.
pub(super) fn bytes(changes: &Overlay, file_bytes: u64) -> u64 {
    let (mut rows, mut held) = (0, 0);
    for (key, value) in changes.values().flatten() {
        rows += 1;
        held += key.len() + value.as_ref().map_or(0, Vec::len);
    }
    if rows == 0 {
        return 0;
    }
    (rows * PAGE + held / 3 * 4 + REST) as u64 + file_bytes / 8192
}
