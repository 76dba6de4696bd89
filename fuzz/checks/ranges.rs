//! `Range` and `Content-Range`: whatever is asked for, what is answered lies within the content.

use super::text;
use dryport::types::{ByteRange, ByteRanges, ContentRange, Span};

/// Eight bytes of length, then the header: each part that lies within the length has one span, in the order asked, with
/// exactly the bytes that it asks for.
pub fn range(data: &[u8]) {
    let Some((len, header)) = data.split_first_chunk::<8>() else {
        return;
    };
    let len = u64::from_le_bytes(*len);
    let Some(ranges) = text(header).and_then(|h| ByteRanges::parse(h).ok()) else {
        return;
    };
    let parts = ranges.as_slice();
    assert!(!parts.is_empty() && parts.len() <= ByteRanges::MOST);
    let spelled: Vec<String> = parts.iter().map(spell).collect();
    let again = ByteRanges::parse(&format!("bytes={}", spelled.join(",")));
    assert_eq!(again.as_ref(), Ok(&ranges));
    for len in [len, len % 64, 0, 1, u64::MAX] {
        let spans: Vec<Span> = ranges.within(len);
        for span in &spans {
            assert!(span.len > 0, "{parts:?} of {len}: {spans:?}");
            let last = span.start.checked_add(span.len - 1);
            assert!(
                last.is_some_and(|last| last < len),
                "{parts:?} of {len}: {spans:?}"
            );
        }
        if len < 64 {
            let bytes = |part: &ByteRange| -> Vec<u64> {
                (0..len).filter(|at| wants(*part, *at, len)).collect()
            };
            let asked = parts.iter().map(bytes).filter(|bytes| !bytes.is_empty());
            let got = spans
                .iter()
                .map(|s| (s.start..s.start + s.len).collect::<Vec<u64>>());
            assert!(asked.eq(got), "{parts:?} of {len}: {spans:?}");
        }
    }
}

fn spell(part: &ByteRange) -> String {
    match part {
        ByteRange::From(first, None) => format!("{first}-"),
        ByteRange::From(first, Some(last)) => format!("{first}-{last}"),
        ByteRange::Suffix(n) => format!("-{n}"),
    }
}

fn wants(part: ByteRange, at: u64, len: u64) -> bool {
    match part {
        ByteRange::From(first, last) => at >= first && last.is_none_or(|last| at <= last),
        ByteRange::Suffix(n) => len - at <= n,
    }
}

/// Where a chunk stands: not inverted, exact, and spelled again the same.
pub fn content_range(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(range) = ContentRange::parse(text) else {
        return;
    };
    assert!(
        range.first <= range.last && range.len() > range.last - range.first
            || range.len() == u64::MAX
    );
    let (first, last) = (range.first, range.last);
    for again in [format!("{first}-{last}"), format!("bytes {first}-{last}/*")] {
        assert_eq!(ContentRange::parse(&again), Ok(range), "{text:?}");
    }
    // Every digit of the input counts: no number was cut to fit.
    let digits = |text: &str| text.trim_start_matches('0').len();
    let whole: usize = text
        .split('/')
        .next()
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .map(digits)
        .sum();
    let shown = |n: u64| if n == 0 { 0 } else { n.to_string().len() };
    assert_eq!(whole, shown(first) + shown(last), "{text:?}");
}
