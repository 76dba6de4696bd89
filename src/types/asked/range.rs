//! Byte ranges: what a `Range` header asks for (RFC 9110 section 14) and where a chunk of an upload stands
//! (distribution-spec, "Pushing a blob in chunks").

/// One part of a `Range: bytes=` header, before the length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-` or `first-last`, both ends included.
    From(u64, Option<u64>),
    /// `-length`: the last bytes.
    Suffix(u64),
}

/// A resolved part of a body: first byte and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u64,
    /// Number of bytes, at least one.
    pub len: u64,
}

/// The header is no range that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not of the grammar, in a way that RFC 9110 lets a server ignore.
    #[error("the Range header is not of the form bytes=FIRST-LAST")]
    Syntax,
    /// Nothing of it lies within the body, or its ends are inverted: 416.
    #[error("the range lies outside the content")]
    Unsatisfiable,
    /// More parts than are answered one by one, which RFC 9110 section 14.2 lets a server ignore.
    #[error("the Range header has more than {} parts", ByteRanges::MOST)]
    Many,
}

/// The parts of a `Range` header in the order asked, at most [`ByteRanges::MOST`]: their text is read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRanges(Vec<ByteRange>);

impl ByteRanges {
    /// Parts of one header that are answered one by one. It is what containers/storage asks for at most.
    pub const MOST: usize = 1024;

    /// Reads the header. Another unit than bytes, or a syntax error in any part, is `Syntax`, and one part more than
    /// [`Self::MOST`] is `Many` (both to be ignored); inverted ends are `Unsatisfiable`. The first of them counts.
    pub fn parse(header: &str) -> Result<Self, RangeError> {
        let (unit, set) = header.trim().split_once('=').ok_or(RangeError::Syntax)?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return Err(RangeError::Syntax);
        }
        let mut all = Vec::new();
        for part in set.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            if all.len() == Self::MOST {
                return Err(RangeError::Many);
            }
            all.push(ByteRange::parse(part)?);
        }
        if all.is_empty() {
            return Err(RangeError::Syntax);
        }
        Ok(Self(all))
    }

    /// All of them.
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.0
    }

    /// What of the parts lies within a body of `len` bytes, in the order asked: neither sorted nor joined.
    pub fn within(&self, len: u64) -> Vec<Span> {
        self.0.iter().filter_map(|range| range.span(len)).collect()
    }
}

impl ByteRange {
    /// Reads `FIRST-`, `FIRST-LAST` or `-LENGTH`.
    fn parse(part: &str) -> Result<Self, RangeError> {
        let (first, last) = part.split_once('-').ok_or(RangeError::Syntax)?;
        match (first, last) {
            ("", last) => Ok(Self::Suffix(number(last)?)),
            (first, "") => Ok(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return Err(RangeError::Unsatisfiable);
                }
                Ok(Self::From(first, Some(last)))
            }
        }
    }

    fn span(&self, len: u64) -> Option<Span> {
        match *self {
            Self::From(first, _) if first >= len => None,
            Self::From(first, last) => {
                let last = last.unwrap_or(len - 1).min(len - 1);
                Some(Span {
                    start: first,
                    len: last - first + 1,
                })
            }
            Self::Suffix(n) => {
                let n = n.min(len);
                (n > 0).then(|| Span {
                    start: len - n,
                    len: n,
                })
            }
        }
    }
}

fn number(text: &str) -> Result<u64, RangeError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RangeError::Syntax);
    }
    // Digits that do not fit are simply beyond any body.
    Ok(text.parse().unwrap_or(u64::MAX - 1))
}

/// Where a chunk of an upload stands: `Content-Range: FIRST-LAST`, also `bytes FIRST-LAST/TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of the chunk's first byte.
    pub first: u64,
    /// Offset of its last byte.
    pub last: u64,
}

impl ContentRange {
    /// Parses the header's value.
    pub fn parse(header: &str) -> Result<Self, RangeError> {
        let text = header.trim();
        let text = text
            .strip_prefix("bytes ")
            .or_else(|| text.strip_prefix("bytes="))
            .unwrap_or(text);
        let text = text.split('/').next().unwrap_or_default();
        let (first, last) = text.split_once('-').ok_or(RangeError::Syntax)?;
        let exact = |text: &str| text.parse().ok().filter(|_| number(text).is_ok());
        let (first, last): (u64, u64) = exact(first).zip(exact(last)).ok_or(RangeError::Syntax)?;
        if last < first {
            Err(RangeError::Unsatisfiable)
        } else {
            Ok(Self { first, last })
        }
    }

    /// Number of bytes in the chunk.
    pub fn len(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Never: a content range names at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn get(header: &str, len: u64) -> Result<Vec<(u64, u64)>, RangeError> {
        let spans = ByteRanges::parse(header)?.within(len);
        Ok(spans.iter().map(|s| (s.start, s.len)).collect())
    }

    #[test]
    fn ranges() {
        assert_eq!(get("bytes=0-0", 10), Ok(vec![(0, 1)]));
        assert_eq!(get("bytes=5-", 10), Ok(vec![(5, 5)]));
        assert_eq!(get("bytes=-3", 10), Ok(vec![(7, 3)]));
        assert_eq!(get("bytes=-300", 10), Ok(vec![(0, 10)]));
        assert_eq!(get("bytes=5-500", 10), Ok(vec![(5, 5)]));
        assert_eq!(get("bytes=0-1,5-6", 10), Ok(vec![(0, 2), (5, 2)]));
        assert_eq!(get("bytes=5-6,0-5", 10), Ok(vec![(5, 2), (0, 6)]));
        assert_eq!(
            get("bytes=0-0,1-1,1-1", 9),
            Ok(vec![(0, 1), (1, 1), (1, 1)])
        );
        assert_eq!(get("Bytes= 0-1 ,,99-,\t", 10), Ok(vec![(0, 2)]));
        for outside in ["bytes=10-", "bytes=-0", "bytes=10-,-0,99-100"] {
            assert_eq!(get(outside, 10), Ok(vec![]), "{outside}");
        }
        for inverted in ["bytes=500-0", "bytes=0-1,5-4"] {
            assert_eq!(get(inverted, 10), Err(RangeError::Unsatisfiable));
        }
        for odd in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "items=0-1",
            "bytes=1",
            "bytes=--1",
            "bytes=,",
            "bytes=0-1,x",
            "bytes=0-1;2-3",
        ] {
            assert_eq!(get(odd, 10), Err(RangeError::Syntax), "{odd}");
        }
        assert_eq!(get("bytes=0-", 0), Ok(vec![]));
    }

    #[test]
    fn as_many_as_are_answered_one_by_one() {
        let many = |n: usize| format!("bytes= , {}", "7-7,, ".repeat(n));
        let all = get(&many(ByteRanges::MOST), 8).expect("ranges");
        assert!(all.len() == ByteRanges::MOST && all.iter().all(|span| *span == (7, 1)));
        for more in [1, 10_000] {
            let header = many(ByteRanges::MOST + more);
            // What lies outside the content counts as well.
            for len in [8, 1] {
                assert_eq!(get(&header, len), Err(RangeError::Many));
            }
            // Nothing behind them is read.
            assert_eq!(get(&(header + "2-1,x"), 8), Err(RangeError::Many));
        }
    }

    #[test]
    fn content_ranges() {
        let chunk = ContentRange::parse("5-9").expect("valid");
        assert_eq!((chunk.first, chunk.last, chunk.len()), (5, 9, 5));
        assert_eq!(ContentRange::parse("bytes 5-9/100"), Ok(chunk));
        for bad in [
            "",
            "5",
            "9-5",
            "a-b",
            "-5",
            "5-",
            "0-99999999999999999999999",
        ] {
            assert!(ContentRange::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn spans_lie_within(header in "bytes=[0-9,-]{0,30}", len in 0u64..50) {
            for (start, n) in get(&header, len).unwrap_or_default() {
                prop_assert!(n > 0 && start + n <= len);
            }
        }
    }
}
