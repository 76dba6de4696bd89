//! Pieces: received bytes that are hashed and written in one go, and what they cost meanwhile.

use super::memory::{FIRST, Memory, PIECE, Share};
use crate::blobs::Buffer;
use std::time::Duration;
use tokio::time::Instant;

/// The longest time that received bytes wait for more.
const HELD: Duration = Duration::from_secs(1);

/// Received bytes that wait to be written, and what they cost.
#[derive(Default)]
pub(super) struct Piece {
    /// The bytes.
    pub bytes: Buffer,
    /// What is paid for them.
    pub share: Share,
    /// When it is written, whole or not: a slow client does not keep memory from others.
    pub due: Option<Instant>,
}

impl Piece {
    /// Whether it takes no more.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == PIECE
    }

    /// What the buffer must hold to take so many bytes more, as far as a piece goes.
    fn capacity_for(&self, len: usize) -> usize {
        let held = self.bytes.capacity();
        match self.bytes.len() + len {
            wanted if wanted <= held => held,
            ..=FIRST => FIRST,
            _ => PIECE,
        }
    }

    /// What taking so many bytes more costs beyond what is paid: for what is held, not for what is used of it.
    pub fn price_of(&self, len: usize) -> usize {
        Memory::price(self.capacity_for(len)) - Memory::price(self.bytes.capacity())
    }

    /// Takes in as many bytes as make a whole piece, paid for with `share`; answers how many.
    pub fn add(&mut self, frame: &[u8], share: Share, memory: &Memory) -> usize {
        self.due.get_or_insert_with(|| Instant::now() + HELD);
        let capacity = self.capacity_for(frame.len());
        if capacity > self.bytes.capacity() {
            let mut larger = memory.buffer(capacity);
            larger.fill(&self.bytes);
            memory.give_back(std::mem::replace(&mut self.bytes, larger));
        }
        self.share.add(share);
        self.bytes.fill(frame)
    }
}
