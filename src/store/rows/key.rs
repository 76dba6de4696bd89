//! Order-preserving keys: the order of the bytes is the order of the pieces.
//!
//! Integers are big-endian, texts end with 0x00. A key knows nothing of tables; their shapes are on `table.rs`.

use crate::types::Digest;

/// Builds a key, piece by piece.
#[derive(Debug, Clone)]
pub struct Key(Vec<u8>);

/// Most keys are no longer than this: their bytes are not moved while they are made.
const USUAL: usize = 128;

impl Key {
    /// The empty key.
    #[expect(clippy::new_without_default, reason = "nothing is a key by default")]
    pub fn new() -> Self {
        Self(Vec::with_capacity(USUAL))
    }

    /// Adds a big-endian integer (8 bytes).
    #[must_use]
    pub fn u64(self, n: u64) -> Self {
        self.raw(&n.to_be_bytes())
    }

    /// Adds the complement of an integer (8 bytes): later sorts first.
    #[must_use]
    pub fn not_u64(self, n: u64) -> Self {
        self.u64(!n)
    }

    /// Adds one byte.
    #[must_use]
    pub fn u8(self, n: u8) -> Self {
        self.raw(&[n])
    }

    /// Adds raw bytes of a length that the reader knows (a digest's key form, an id).
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds a text and its end mark 0x00. Names are free of 0x00 by their types; should one slip through, it is
    /// stored as U+FFFD, for it must not end the text early and pass for another name.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        for (i, piece) in text.split('\0').enumerate() {
            if i > 0 {
                self.0.extend_from_slice("\u{fffd}".as_bytes());
            }
            self.0.extend_from_slice(piece.as_bytes());
        }
        self.u8(0)
    }

    /// The finished bytes.
    pub fn done(self) -> Vec<u8> {
        self.0
    }

    /// (from, to) of all keys that start with this one, for `scan`. An empty `to` means the end of the table: the
    /// empty key, or one of 0xff bytes alone, has no successor.
    pub fn range(self) -> (Vec<u8>, Vec<u8>) {
        let mut to = self.0.clone();
        while let Some(last) = to.pop() {
            if last < u8::MAX {
                to.push(last + 1);
                break;
            }
        }
        (self.0, to)
    }
}

/// Reads a key piece by piece; `None` when it is not of that shape (nothing is consumed then).
pub struct Parts<'a>(pub &'a [u8]);

impl<'a> Parts<'a> {
    /// A big-endian integer.
    pub fn u64(&mut self) -> Option<u64> {
        let bytes = self.raw(8)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    /// The integer whose complement is stored.
    pub fn not_u64(&mut self) -> Option<u64> {
        self.u64().map(|n| !n)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.raw(1)?.first().copied()
    }

    /// A text, without its end mark.
    pub fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let text = std::str::from_utf8(&self.0[..end]).ok()?;
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    /// `n` raw bytes.
    pub fn raw(&mut self, n: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A digest in its key form.
    pub fn digest(&mut self) -> Option<Digest> {
        let (digest, rest) = Digest::split_key(self.0).ok()?;
        self.0 = rest;
        Some(digest)
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;
    use proptest::prelude::*;
    use std::cmp::Reverse;

    type Pieces = (u64, String, Reverse<u64>, u8, [u8; 4]);

    fn key(p: &Pieces) -> Vec<u8> {
        Key::new()
            .u64(p.0)
            .text(&p.1)
            .not_u64(p.2.0)
            .u8(p.3)
            .raw(&p.4)
            .done()
    }

    fn pieces() -> impl Strategy<Value = Pieces> {
        let text = "[\u{1}-\u{7f}é漢]{0,6}";
        let number = prop_oneof![0..4_u64, any::<u64>()];
        (
            number.clone(),
            text,
            number.prop_map(Reverse),
            any::<u8>(),
            any::<[u8; 4]>(),
        )
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_pieces(a in pieces(), b in pieces()) {
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn keys_read_back(a in pieces()) {
            let bytes = key(&a);
            let mut parts = Parts(&bytes);
            prop_assert_eq!(parts.u64(), Some(a.0));
            prop_assert_eq!(parts.text(), Some(a.1.as_str()));
            prop_assert_eq!(parts.not_u64(), Some(a.2.0));
            prop_assert_eq!(parts.u8(), Some(a.3));
            prop_assert_eq!(parts.raw(4), Some(&a.4[..]));
            prop_assert!(parts.rest().is_empty());
            prop_assert!(parts.u8().is_none());
        }

        #[test]
        fn a_range_holds_the_prefix_and_nothing_else(
            prefix in proptest::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..4),
            other in proptest::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..6),
        ) {
            let (from, to) = Key::new().raw(&prefix).range();
            let inside = other >= from && (to.is_empty() || other < to);
            prop_assert_eq!(inside, other.starts_with(&prefix));
        }
    }

    #[test]
    fn digests_read_back_and_short_keys_are_none() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"x");
            let bytes = Key::new().raw(digest.as_key()).u8(7).done();
            let mut parts = Parts(&bytes);
            assert_eq!(parts.digest(), Some(digest));
            assert_eq!(parts.rest(), [7]);
        }
        assert_eq!(Parts(&[1, 2]).digest(), None);
        assert_eq!(Parts(&[1, 2]).u64(), None);
        assert_eq!(Parts(b"abc").text(), None);
        assert_eq!(Parts(b"\xff\0").text(), None);
    }

    #[test]
    fn an_end_mark_inside_a_text_cannot_end_it() {
        let bytes = Key::new().text("a\0b").done();
        assert_eq!(Parts(&bytes).text(), Some("a\u{fffd}b"));
    }
}
