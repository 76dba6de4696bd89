//! Answers that come coded although nobody asked for it (RFC 9110 section 8.4): gzip, taken apart within bounds.
//!
//! Whether the plain bytes or those that came are the right ones is for whoever knows their digest.

use super::error::FetchError;
use bytes::{Buf as _, Bytes};
use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use std::io::Write as _;

/// Bytes that are fed to the decoder at once: a thousand times as many may come out of it.
const STEP: usize = 1024;
/// How gzip begins (RFC 1952 section 2.3.1). No JSON does.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The codings that the header names, in lower case, but for those that change nothing.
fn codings(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(CONTENT_ENCODING).iter();
    all.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
        .flat_map(|value| {
            let list = value.split(',').map(|coding| coding.trim().to_owned());
            list.collect::<Vec<_>>()
        })
        // The last is how some storages say that an upload came in pieces.
        .filter(|coding| !matches!(coding.as_str(), "" | "identity" | "aws-chunked"))
        .collect()
}

/// Whether the header says that the bytes are coded as gzip, and as nothing else.
pub(super) fn is_gzip(headers: &HeaderMap) -> bool {
    matches!(codings(headers).as_slice(), [one] if one == "gzip" || one == "x-gzip")
}

/// The codings that the header names, if they are others than that; as they may be shown.
pub(super) fn foreign(headers: &HeaderMap) -> Option<String> {
    let all = codings(headers);
    let text = all.join(", ");
    let shown = text
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(40);
    (!all.is_empty() && !is_gzip(headers)).then(|| shown.collect())
}

/// The plain bytes of a small body, if it is gzip, whatever its header says; at most `limit` bytes. `None`: it is not.
pub fn plain(body: &[u8], limit: u64) -> Option<Result<Bytes, TooLong>> {
    if !body.starts_with(&MAGIC) {
        return None;
    }
    let mut gunzip = Gunzip::default();
    let mut left = Bytes::copy_from_slice(body);
    let mut plain = Vec::new();
    while !left.is_empty() {
        plain.extend_from_slice(&gunzip.step(&mut left).ok()?);
        if plain.len() as u64 > limit {
            return Some(Err(TooLong));
        }
    }
    plain.extend_from_slice(&gunzip.end().ok()?);
    let is_long = plain.len() as u64 > limit;
    Some(if is_long {
        Err(TooLong)
    } else {
        Ok(plain.into())
    })
}

/// More came out than may.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Decodes a body as it comes.
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
}

impl Default for Gunzip {
    fn default() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
        }
    }
}

impl Gunzip {
    /// Takes some bytes off the front of `coded`; what they stand for, which may be nothing yet, and is little.
    pub fn step(&mut self, coded: &mut Bytes) -> std::io::Result<Bytes> {
        let some = coded.len().min(STEP);
        self.decoder.write_all(&coded[..some])?;
        coded.advance(some);
        Ok(self.taken())
    }

    /// What is left at the end; an error if the coded bytes are not whole.
    pub fn end(&mut self) -> std::io::Result<Bytes> {
        self.decoder.try_finish()?;
        Ok(self.taken())
    }

    fn taken(&mut self) -> Bytes {
        std::mem::take(self.decoder.get_mut()).into()
    }
}

/// A body that says that it is gzip and is not.
pub(super) fn not_gzip(url: String, error: &std::io::Error) -> FetchError {
    FetchError::Coding {
        url,
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn small_bodies() {
        let text = b"{\"a\": 1}".repeat(1000);
        let coded = gzip(&text);
        assert_eq!(plain(&coded, 8000), Some(Ok(text.clone().into())));
        assert_eq!(plain(&coded, 7999), Some(Err(TooLong)));
        // Nothing else is taken for it, and half of it is nothing.
        assert_eq!(plain(&text, 9000), None);
        assert_eq!(plain(&coded[..coded.len() - 1], 9000), None);
        assert_eq!(plain(&MAGIC, 9000), None);
        let twice = [coded.clone(), coded.clone()].concat();
        assert_eq!(plain(&twice, 16_000), Some(Ok(text.repeat(2).into())));
        // What unfolds without end is cut off on the way.
        let bomb = gzip(&vec![0; 64 << 20]);
        assert_eq!(plain(&bomb, 1000), Some(Err(TooLong)));
    }

    #[test]
    fn pieces_stay_small() {
        let mut left = Bytes::from(gzip(&vec![0; 64 << 20]));
        let (mut gunzip, mut sum) = (Gunzip::default(), 0);
        while !left.is_empty() {
            let piece = gunzip.step(&mut left).expect("gzip");
            assert!(piece.len() <= 2 << 20, "{}", piece.len());
            sum += piece.len();
        }
        sum += gunzip.end().expect("whole").len();
        assert_eq!(sum, 64 << 20);
    }

    #[test]
    fn what_headers_say() {
        for (values, want) in [
            (&["gzip"][..], true),
            (&["GZIP"], true),
            (&["x-gzip"], true),
            (&["identity, gzip"], true),
            (&["aws-chunked", "gzip"], true),
            (&["gzip, gzip"], false),
            (&["br"], false),
            (&["identity"], false),
            (&["aws-chunked"], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().expect("value"));
            }
            assert_eq!(is_gzip(&headers), want, "{values:?}");
            let foreign = foreign(&headers);
            let named = ["gzip, gzip", "br"];
            assert_eq!(
                foreign.is_some_and(|text| named.contains(&text.as_str())),
                !want
                    && values
                        .iter()
                        .any(|v| v.contains("br") || v.contains("gzip"))
            );
        }
    }
}
