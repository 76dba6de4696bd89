//! A hash that is ahead of the file: bytes are hashed where they arrive, while the disk has the ones before.
//!
//! An ingest takes such a hash over only once the bytes are written, and only if it is of these bytes and no others.

use crate::types::{Algorithm, Hasher};

/// The hash of the first bytes of an upload, written or not.
#[derive(Clone)]
pub struct Ahead {
    hasher: Hasher,
    algorithm: Algorithm,
    len: u64,
}

impl Ahead {
    /// Of no bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        Self::of(Hasher::new(algorithm), algorithm, 0)
    }

    /// Of `len` bytes that `hasher` has taken in.
    pub(in crate::blobs) fn of(hasher: Hasher, algorithm: Algorithm, len: u64) -> Self {
        Self {
            hasher,
            algorithm,
            len,
        }
    }

    /// How many bytes it is of.
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// The hash, if it is of this algorithm and of just so many bytes.
    pub(in crate::blobs) fn up_to(self, algorithm: Algorithm, len: u64) -> Option<Hasher> {
        (self.algorithm == algorithm && self.len == len).then_some(self.hasher)
    }
}
