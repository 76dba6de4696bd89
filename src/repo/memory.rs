//! One budget for the bytes of all uploads that are in memory: received, being written, or kept for the end.
//!
//! Who finds none left waits, and so its client does, as nothing is read from the connection meanwhile. Nobody waits
//! while holding some (`receive` sees to that), so the waiting always ends.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget; cheap to clone.
#[derive(Clone)]
pub(super) struct Memory {
    free: Arc<Semaphore>,
    all: u32,
}

/// A part of it, given back when dropped.
#[derive(Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Memory {
    /// `bytes` in all; beyond 4 GiB is as 4 GiB.
    pub fn new(bytes: u64) -> Self {
        let all = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        Self {
            free: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// A share of `len` bytes, if that is free now.
    pub fn try_take(&self, len: usize) -> Option<Share> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.cost(len));
        permit.ok().map(|permit| Share(Some(permit)))
    }

    /// A share of `len` bytes, in the order of asking.
    pub async fn take(&self, len: usize) -> Share {
        let permit = Arc::clone(&self.free).acquire_many_owned(self.cost(len));
        // It is never closed.
        Share(permit.await.ok())
    }

    /// Bytes held by uploads.
    pub fn used(&self) -> u64 {
        (self.all as usize - self.free.available_permits()) as u64
    }

    /// One piece may not ask for more than there is.
    fn cost(&self, len: usize) -> u32 {
        u32::try_from(len).map_or(self.all, |len| len.min(self.all))
    }
}

impl Share {
    /// Adds another share to this one.
    pub fn add(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(mine), Some(more)) => mine.merge(more),
            (mine @ None, more) => *mine = more,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_come_back() {
        let memory = Memory::new(10);
        let mut share = memory.take(4).await;
        share.add(memory.try_take(6).expect("left"));
        assert!(memory.try_take(1).is_none() && memory.used() == 10);
        drop(share);
        // More than there is means all there is.
        let all = memory.take(99).await;
        assert_eq!(memory.used(), 10);
        drop(all);
        assert_eq!(memory.used(), 0);
    }
}
