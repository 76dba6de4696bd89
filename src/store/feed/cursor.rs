//! A place in the feed, which those who follow it compare and hand back, and nothing else.

use super::sequence;
use crate::store::StoreError;
use crate::store::key::Parts;

/// The longest cursor in bytes.
const CURSOR: usize = 16;

/// A place in the feed: everything up to a row, that row included. Of two, the greater is later. What its bytes are is the
/// store's own affair; a feed of another engine may have other ones, with gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedCursor {
    // The order of the fields is the order of the bytes: those behind the end are 0.
    bytes: [u8; CURSOR],
    len: u8,
}

impl FeedCursor {
    /// Before every row.
    pub const START: Self = Self {
        bytes: [0; CURSOR],
        len: 0,
    };

    /// Of its bytes; none if they are too many. (An older program wrote the start as the number 0.)
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.iter().all(|byte| *byte == 0) {
            return (bytes.len() <= CURSOR).then_some(Self::START);
        }
        let mut cursor = Self::START;
        cursor.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        cursor.len = bytes.len() as u8;
        Some(cursor)
    }

    /// At the row of this key.
    pub(super) fn at(key: &[u8]) -> Result<Self, StoreError> {
        sequence(key)?;
        Self::of(key).ok_or_else(|| StoreError::Damaged("a feed key is too long".into()))
    }

    /// Whether it is before every row.
    pub fn is_start(&self) -> bool {
        self.len == 0
    }

    /// The bytes by which it is kept: at most 16.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The least key after it.
    pub(super) fn next_key(&self) -> Vec<u8> {
        if self.is_start() {
            return Vec::new();
        }
        [self.as_bytes(), &[0]].concat()
    }

    /// The number that this engine's rows have; 0 at the start.
    pub(super) fn number(&self) -> u64 {
        Parts(self.as_bytes()).u64().unwrap_or(0)
    }
}

/// In hexadecimal digits.
impl std::fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for FeedCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FeedCursor({self})")
    }
}
