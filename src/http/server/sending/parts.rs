//! What bodies are made of: spans of the content, and the framing of several ranges between them (multipart/byteranges,
//! RFC 9110 section 14.6).
//!
//! The framing is written as it is needed, and its length is known before: nothing is written twice.

use crate::http::server::limits::many_ranges::RangeLeave;
use crate::types::Span;
use axum::body::Bytes;
use std::collections::VecDeque;
use std::fmt::Write as _;

/// One piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyPiece {
    /// Framing between ranges.
    Text(Bytes),
    /// A part of the content.
    Span(Span),
}

impl BodyPiece {
    fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Span(span) => span.len,
        }
    }
}

/// The pieces of a body, in order.
#[derive(Default)]
pub struct BodyParts {
    /// The next ones; empty only at the end.
    ready: VecDeque<BodyPiece>,
    framed: Option<Framed>,
    /// Bytes of all of them.
    len: u64,
}

/// Room for the ends of a span in digits.
const ENDS: usize = 41;

/// Spans that are still to be framed.
struct Framed {
    spans: std::vec::IntoIter<Span>,
    boundary: Box<str>,
    /// What stands before and after the ends of each span; before the first without its line end.
    around: (Box<str>, Box<str>),
    first: bool,
    /// Until all of them are framed.
    _leave: RangeLeave,
}

impl BodyParts {
    /// One span.
    pub fn one(span: Span) -> Self {
        Self::listed([BodyPiece::Span(span)].into())
    }

    /// These pieces.
    pub fn listed(ready: VecDeque<BodyPiece>) -> Self {
        let len = ready.iter().map(BodyPiece::len).sum();
        Self {
            ready,
            framed: None,
            len,
        }
    }

    /// Each span as one part of a multipart body, of content with this length and media type.
    pub fn multipart(
        (spans, leave): (Vec<Span>, RangeLeave),
        total: u64,
        kind: &str,
        boundary: &str,
    ) -> Self {
        let len = framed_len(&spans, total, kind, boundary);
        let mut framed = Framed {
            spans: spans.into_iter(),
            boundary: boundary.into(),
            around: (
                format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes ").into(),
                format!("/{total}\r\n\r\n").into(),
            ),
            first: true,
            _leave: leave,
        };
        let mut ready = VecDeque::with_capacity(2);
        let more = framed.next(&mut ready);
        Self {
            ready,
            framed: more.then_some(framed),
            len,
        }
    }

    /// Bytes of all pieces, as they were at first.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The span that a body is which has nothing else.
    pub fn only_span(&self) -> Option<Span> {
        match (&self.framed, self.ready.len(), self.ready.front()) {
            (None, 1, Some(BodyPiece::Span(span))) => Some(*span),
            _ => None,
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// The next piece, which stays.
    pub fn front(&self) -> Option<&BodyPiece> {
        self.ready.front()
    }

    /// The next piece.
    pub fn pop(&mut self) -> Option<BodyPiece> {
        let piece = self.ready.pop_front();
        if self.ready.is_empty()
            && let Some(framed) = &mut self.framed
            && !framed.next(&mut self.ready)
        {
            self.framed = None;
        }
        piece
    }

    /// What of a piece was not taken comes next.
    pub fn put_back(&mut self, piece: BodyPiece) {
        self.ready.push_front(piece);
    }

    /// Nothing is left.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Framed {
    /// The next part with its framing; false: it was the end.
    fn next(&mut self, to: &mut VecDeque<BodyPiece>) -> bool {
        let Some(span) = self.spans.next() else {
            to.push_back(BodyPiece::Text(self.end().into()));
            return false;
        };
        to.push_back(BodyPiece::Text(self.head(span).into()));
        to.push_back(BodyPiece::Span(span));
        true
    }

    fn head(&mut self, span: Span) -> String {
        let (before, after) = &self.around;
        let skipped = if std::mem::take(&mut self.first) {
            "\r\n".len()
        } else {
            0
        };
        let mut head = String::with_capacity(before.len() + ENDS + after.len());
        head.push_str(&before[skipped..]);
        // A string takes all that is written.
        let _ = write!(head, "{}-{}", span.start, last(span));
        head.push_str(after);
        head
    }

    fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

/// Bytes of all parts and of their framing, counted without writing it.
fn framed_len(spans: &[Span], total: u64, kind: &str, boundary: &str) -> u64 {
    let marks = "\r\n--\r\nContent-Type: \r\nContent-Range: bytes -/\r\n\r\n".len();
    let each = (marks + boundary.len() + kind.len()) as u64 + digits(total);
    let part = |span: &Span| each + digits(span.start) + digits(last(*span)) + span.len;
    let parts: u64 = spans.iter().map(part).sum();
    // The first part has no line end before it; the end has its own marks.
    parts + ("--".len() + boundary.len() + "--\r\n".len()) as u64
}

/// Decimal digits of a number.
fn digits(n: u64) -> u64 {
    u64::from(n.checked_ilog10().unwrap_or(0)) + 1
}

/// Where the last byte of a span is.
fn last(span: Span) -> u64 {
    span.start + span.len - 1
}

/// `Content-Range` of a span.
pub fn content_range(span: Span, total: u64) -> String {
    format!("bytes {}-{}/{total}", span.start, last(span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ByteRanges;
    use proptest::prelude::*;

    #[test]
    fn framing_comes_with_each_part_and_its_length_is_known_before() {
        let spans = ByteRanges::parse("bytes=5-6,0-0,99-,0-9").expect("ranges");
        let spans = (spans.within(10), RangeLeave::default());
        let mut parts = BodyParts::multipart(spans, 10, "text/plain", "B");
        let (mut text, mut len) = (String::new(), 0);
        let known = parts.len();
        assert_eq!(parts.only_span(), None);
        while let Some(piece) = parts.pop() {
            len += piece.len();
            let shown = match piece {
                BodyPiece::Text(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                BodyPiece::Span(span) => format!("[{}+{}]", span.start, span.len),
            };
            text.push_str(&shown);
            assert!(parts.ready.len() <= 2);
        }
        assert!(parts.is_empty());
        assert_eq!(len, known);
        let part = |range: &str, body: &str| {
            format!(
                "--B\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{body}\r\n"
            )
        };
        let all = [
            part("5-6", "[5+2]"),
            part("0-0", "[0+1]"),
            part("0-9", "[0+10]"),
        ];
        assert_eq!(text, all.concat() + "--B--\r\n");
    }

    proptest! {
        #[test]
        fn the_length_is_that_of_what_is_written(
            ends in prop::collection::vec((0u32..63, 0u32..63, 0u64..3), 1..9),
            (most, kind, boundary) in (1u32..63, "[a-z/]{0,9}", "[a-z]{1,9}"),
        ) {
            // About the powers of two, and one beside: every number of digits.
            let total = 1u64 << most;
            let span = |(start, len, off): &(u32, u32, u64)| {
                let start = ((1u64 << start) - 1).saturating_sub(*off).min(total - 1);
                let len = ((1u64 << len) + off).min(total - start);
                Span { start, len }
            };
            let spans: Vec<Span> = ends.iter().map(span).collect();
            prop_assume!(spans.iter().try_fold(0u64, |sum, span| sum.checked_add(span.len)).is_some());
            let spans = (spans, RangeLeave::default());
            let mut parts = BodyParts::multipart(spans, total, &kind, &boundary);
            let known = u128::from(parts.len());
            let pieces = std::iter::from_fn(|| parts.pop());
            prop_assert_eq!(known, pieces.map(|piece| u128::from(piece.len())).sum::<u128>());
        }
    }

    #[test]
    fn what_is_put_back_comes_next() {
        let span = |start, len| BodyPiece::Span(Span { start, len });
        let mut parts = BodyParts::listed([span(0, 9), span(50, 1)].into());
        assert_eq!((parts.len(), parts.pop()), (10, Some(span(0, 9))));
        parts.put_back(span(4, 5));
        assert_eq!(parts.front(), Some(&span(4, 5)));
        assert_eq!(parts.pop(), Some(span(4, 5)));
        assert_eq!((parts.pop(), parts.is_empty()), (Some(span(50, 1)), true));
    }
}
