//! One budget for the bytes of all uploads that are in memory: received, being written, or kept for the end.
//!
//! Who finds none left waits, and so its client does, as nothing is read from the connection meanwhile. Nobody waits
//! while holding some (`receive` sees to that), so the waiting always ends. A few buffers stay here between uploads: they
//! are nobody's and cost no budget.

use crate::blobs::{BLOCK, Buffer};
use crate::repo::state::lock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a whole piece: what is written in one go.
pub(in crate::repo) const PIECE: usize = 512 << 10;
/// The same of an upload that has had as many bytes, while half of the budget is free: each piece costs a wait for the
/// disk and two calls from thread to thread, which on a virtual machine is some 0.1 ms of CPU.
pub(in crate::repo) const LARGE: usize = 2 << 20;
/// A small body, or the begin of a large one, takes no more memory than this.
pub(in crate::repo) const FIRST: usize = 64 << 10;
/// Buffers of so many bytes are kept when nobody needs them: new memory must be cleared, and on a virtual machine often
/// be fetched from the host first.
const SPARE: usize = 16 << 20;

/// The budget; cheap to clone.
#[derive(Clone)]
pub(in crate::repo) struct Memory {
    free: Arc<Semaphore>,
    all: u32,
    spare: Arc<Mutex<Spare>>,
}

/// Buffers that nobody needs, the longest kept first.
#[derive(Default)]
struct Spare {
    buffers: VecDeque<Buffer>,
    bytes: usize,
}

/// A part of it, given back when dropped.
#[derive(Default)]
pub(in crate::repo) struct Share(Option<OwnedSemaphorePermit>);

impl Memory {
    /// `bytes` in all; beyond 4 GiB is as 4 GiB.
    pub fn new(bytes: u64) -> Self {
        let all = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        Self {
            free: Arc::new(Semaphore::new(all as usize)),
            all,
            spare: Arc::default(),
        }
    }

    /// What a buffer of `capacity` bytes costs.
    pub fn price(capacity: usize) -> usize {
        if capacity == 0 { 0 } else { capacity + BLOCK }
    }

    /// How many bytes the next piece is to have, of an upload that has had `so_far`.
    pub fn piece(&self, so_far: u64) -> usize {
        let used = self.all as usize - self.free.available_permits();
        if so_far >= LARGE as u64 && used + LARGE <= self.all as usize / 2 {
            LARGE
        } else {
            PIECE
        }
    }

    /// An empty buffer of `capacity` bytes, which is paid for by now.
    pub fn buffer(&self, capacity: usize) -> Buffer {
        let kept = lock(&self.spare).take(capacity);
        kept.unwrap_or_else(|| Buffer::with_capacity(capacity))
    }

    /// Takes a buffer back.
    pub fn give_back(&self, buffer: Buffer) {
        lock(&self.spare).keep(buffer);
    }

    /// Keeps no buffer that nobody needs.
    pub fn rest(&self) {
        // Given back outside the lock: it takes the kernel a while.
        let spare = std::mem::take(&mut *lock(&self.spare));
        drop(spare);
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

impl Spare {
    /// The one kept last of this capacity: the processor has most of it near.
    fn take(&mut self, capacity: usize) -> Option<Buffer> {
        let at = self
            .buffers
            .iter()
            .rposition(|b| b.capacity() == capacity)?;
        let buffer = self.buffers.remove(at)?;
        self.bytes -= capacity;
        Some(buffer)
    }

    fn keep(&mut self, mut buffer: Buffer) {
        if ![FIRST, PIECE, LARGE].contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        self.bytes += buffer.capacity();
        self.buffers.push_back(buffer);
        while self.bytes > SPARE
            && let Some(oldest) = self.buffers.pop_front()
        {
            self.bytes -= oldest.capacity();
        }
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

    #[test]
    fn pieces_are_large_while_there_is_room() {
        let memory = Memory::new(2 * LARGE as u64);
        let long = LARGE as u64;
        assert_eq!((memory.piece(long - 1), memory.piece(long)), (PIECE, LARGE));
        let one = memory.try_take(1);
        assert!(one.is_some());
        assert_eq!(memory.piece(long), PIECE);
        drop(one);
        assert_eq!(memory.piece(long), LARGE);
    }

    #[test]
    fn buffers_are_used_again() {
        let memory = Memory::new(10);
        let mut first = memory.buffer(PIECE);
        let at = first.as_ptr();
        first.fill(b"x");
        memory.give_back(first);
        let again = memory.buffer(PIECE);
        assert!(again.is_empty() && again.as_ptr() == at);
        memory.give_back(again);
        for size in [LARGE, PIECE, FIRST, 9, 0] {
            for _ in 0..99 {
                memory.give_back(Buffer::with_capacity(size));
            }
        }
        let kept = |memory: &Memory| {
            let spare = lock(&memory.spare);
            let of = |size| {
                spare
                    .buffers
                    .iter()
                    .filter(|b| b.capacity() == size)
                    .count()
            };
            assert_eq!(
                spare.bytes,
                spare.buffers.iter().map(Buffer::capacity).sum::<usize>()
            );
            ([LARGE, PIECE, FIRST].map(of), spare.bytes)
        };
        // The last that came back are kept, as far as they go.
        assert_eq!(kept(&memory), ([0, 19, 99], 19 * PIECE + 99 * FIRST));
        memory.rest();
        assert_eq!(kept(&memory), ([0; 3], 0));
    }
}
