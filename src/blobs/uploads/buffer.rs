//! Memory that a disk can take bytes from without the kernel's page cache between.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt as _;

/// Direct writes begin at multiples of this, in memory as in the file, and are as long: a page, and no disk has larger
/// sectors.
pub const BLOCK: usize = 4096;

/// Bytes in memory, up to a capacity that is set when it is made; the first of them lies at a multiple of [`BLOCK`].
#[derive(Debug, Default)]
pub struct Buffer {
    /// Some bytes of nothing, then those that count. It never holds more than it was made for: it would move.
    bytes: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl Buffer {
    /// Room for `capacity` bytes; takes up to [`BLOCK`] more.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(capacity + BLOCK);
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        bytes.resize(start, 0);
        Self {
            bytes,
            start,
            capacity,
        }
    }

    /// Takes bytes in as far as there is room; answers how many.
    pub fn fill(&mut self, from: &[u8]) -> usize {
        let taken = from.len().min(self.capacity - self.len());
        self.bytes.extend_from_slice(&from[..taken]);
        taken
    }

    /// Holds `len` bytes of a file instead, from offset `at` on; no more than it can hold.
    pub(in crate::blobs) fn read_at(&mut self, file: &File, at: u64, len: usize) -> io::Result<()> {
        let len = len.min(self.capacity);
        self.bytes.resize(self.start + len, 0);
        let to = self.bytes.get_mut(self.start..).unwrap_or_default();
        file.read_exact_at(to, at)
    }

    /// How many it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Holds nothing from now on.
    pub fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_holds_stays_at_its_place() {
        let mut buffer = Buffer::with_capacity(3 * BLOCK);
        let at = buffer.as_ptr();
        assert_eq!(at.align_offset(BLOCK), 0);
        assert!(buffer.is_empty());
        assert_eq!(buffer.fill(&[1; 2 * BLOCK]), 2 * BLOCK);
        assert_eq!(buffer.fill(&[2; 2 * BLOCK]), BLOCK);
        assert_eq!(buffer.fill(&[3; 9]), 0);
        assert_eq!((buffer.len(), buffer.capacity()), (3 * BLOCK, 3 * BLOCK));
        assert_eq!(buffer[2 * BLOCK - 1..][..2], [1, 2]);
        buffer.clear();
        assert_eq!(buffer.fill(&[4]), 1);
        assert_eq!(*buffer, [4]);
        assert_eq!(buffer.as_ptr(), at);
    }

    #[test]
    fn one_without_room_takes_nothing() {
        assert_eq!(Buffer::default().fill(b"x"), 0);
        assert!(Buffer::with_capacity(0).is_empty());
    }
}
