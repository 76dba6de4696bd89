//! Pieces: received bytes that are written in one go, and what they cost meanwhile.

use crate::blobs::{Ahead, Buffer};
use crate::repo::uploads::memory::{FIRST, Memory, Share};
use std::time::Duration;
use tokio::time::Instant;

/// The longest time that received bytes wait for more.
pub(in crate::repo) const HELD: Duration = Duration::from_secs(1);

/// Received bytes that wait to be written, and what they cost.
#[derive(Default)]
pub(in crate::repo) struct Piece {
    /// The bytes.
    pub bytes: Buffer,
    /// What is paid for them.
    pub share: Share,
    /// The hash of the upload up to the last of these bytes, once no more come.
    pub ahead: Option<Ahead>,
    /// When it is written, whole or not: a slow client does not keep memory from others.
    pub due: Option<Instant>,
}

impl Piece {
    /// Whether it takes no more.
    pub fn is_whole(&self) -> bool {
        self.bytes.capacity() > FIRST && self.bytes.len() == self.bytes.capacity()
    }

    /// What the buffer must hold to take so many bytes more, as far as a piece goes of an upload that has had `so_far`.
    pub fn capacity_for(&self, len: usize, so_far: u64, memory: &Memory) -> usize {
        let held = self.bytes.capacity();
        match self.bytes.len() + len {
            wanted if wanted <= held || held > FIRST => held,
            ..=FIRST => FIRST,
            _ => memory.piece(so_far),
        }
    }

    /// What holding `capacity` bytes costs beyond what is paid: for what is held, not for what is used of it.
    pub fn price_of(&self, capacity: usize) -> usize {
        Memory::price(capacity) - Memory::price(self.bytes.capacity())
    }

    /// Takes in as many bytes as `capacity` has room for, paid for with `share`; answers how many.
    pub fn add(&mut self, frame: &[u8], capacity: usize, share: Share, memory: &Memory) -> usize {
        self.due.get_or_insert_with(|| Instant::now() + HELD);
        if capacity > self.bytes.capacity() {
            let mut larger = memory.buffer(capacity);
            larger.fill(&self.bytes);
            memory.give_back(std::mem::replace(&mut self.bytes, larger));
        }
        self.share.add(share);
        self.bytes.fill(frame)
    }
}
