//! `Range` and `Content-Range`: whatever is asked for, what is answered lies within the content.

use super::text;
use dryport::types::{ByteRange, ContentRange};

/// Eight bytes of length, then the header: the spans lie within the length, in order, without touching, at most 16,
/// and hold exactly the asked-for bytes.
pub fn range(data: &[u8]) {
    let Some((len, header)) = data.split_first_chunk::<8>() else {
        return;
    };
    let len = u64::from_le_bytes(*len);
    let Some(parts) = text(header).and_then(|h| ByteRange::parse(h).ok()) else {
        return;
    };
    assert!(!parts.is_empty() && parts.len() <= 16);
    let spelled: Vec<String> = parts.iter().map(spell).collect();
    let again = ByteRange::parse(&format!("bytes={}", spelled.join(",")));
    assert_eq!(again.as_ref(), Ok(&parts));
    for len in [len, len % 64, 0, 1, u64::MAX] {
        let spans = ByteRange::resolve(&parts, len).unwrap_or_default();
        assert!(spans.len() <= parts.len());
        let mut end = None;
        for span in &spans {
            assert!(span.len > 0, "{parts:?} of {len}: {spans:?}");
            let last = span.start.checked_add(span.len - 1);
            assert!(
                last.is_some_and(|last| last < len),
                "{parts:?} of {len}: {spans:?}"
            );
            assert!(
                end.is_none_or(|end| end < span.start),
                "{parts:?} of {len}: {spans:?}"
            );
            end = Some(span.start + span.len);
        }
        if len < 64 {
            for at in 0..len {
                let within = spans.iter().any(|s| at >= s.start && at - s.start < s.len);
                let asked = parts.iter().any(|p| wants(*p, at, len));
                assert_eq!(within, asked, "byte {at} of {len}: {parts:?}");
            }
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
