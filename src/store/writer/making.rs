//! A batch while it is put together, and what it may take of the disk.

use crate::store::reserve::Lent;
use crate::store::txn::Batch;
use crate::store::{Need, StoreError};

/// A batch while it is put together.
pub(super) struct Making<'b, 't> {
    pub batch: &'b Batch<'t>,
    /// Bytes that changes which grow may still take, and those that remove for clients.
    pub room: u64,
    pub spare: u64,
    /// What the batch may have of the reserve: as much as all of its changes may.
    pub lent: Lent,
}

impl Making<'_, '_> {
    /// Why a change that needs so many bytes is refused before it is tried, if it is: a commit that fails costs everybody an
    /// opening of the file. What keeps the server going is always tried: its need is an estimate, and what redb has free of
    /// its own may be enough.
    pub fn refusal(&self, need: Need, needed: u64) -> Option<StoreError> {
        match need {
            Need::Grows if needed > self.room => {
                let free = self.room;
                Some(StoreError::Full { needed, free })
            }
            Need::Removes if needed > self.spare => {
                let left = self.spare;
                Some(StoreError::NoSpace(format!(
                    "this change may need {needed} bytes, and {left} are left of what removing may have"
                )))
            }
            _ => None,
        }
    }
}
