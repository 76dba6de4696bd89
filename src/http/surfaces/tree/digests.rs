//! Digests that travel beside files: `Repr-Digest` (RFC 9530) both ways, and `X-Checksum-Sha256` of those who upload.
//!
//! Owns their grammar. The digest of content is checked where content is taken; only a second one, SHA-512, is checked here.

use crate::http::answer::Fail;
use crate::types::{Algorithm, Digest, Hasher};
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::Stream;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The digest of a whole file, whatever part of it is sent.
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CHECKSUM: HeaderName = HeaderName::from_static("x-checksum-sha256");

/// `sha-256=:BASE64:`.
pub fn repr(digest: &Digest) -> String {
    let name = match digest.algorithm() {
        Algorithm::Sha256 => "sha-256",
        Algorithm::Sha512 => "sha-512",
    };
    // The first byte says the algorithm.
    format!("{name}=:{}:", STANDARD.encode(&digest.as_key()[1..]))
}

/// What a client says that a file's digests are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClaimedDigests {
    /// SHA-256.
    pub sha256: Option<Digest>,
    /// SHA-512.
    pub sha512: Option<Digest>,
}

impl ClaimedDigests {
    /// From the headers of a request; algorithms that are not known here are passed over.
    ///
    /// # Errors
    /// 400 for a digest that is none, and for two that differ.
    pub fn of(headers: &HeaderMap) -> Result<Self, Fail> {
        let mut claimed = Self::default();
        for value in headers.get_all(REPR_DIGEST) {
            let text = value.to_str().map_err(|_| malformed("Repr-Digest"))?;
            for member in text.split(',').filter(|member| !member.trim().is_empty()) {
                claimed.member(member)?;
            }
        }
        if let Some(value) = headers.get(CHECKSUM) {
            let hex = value.to_str().map_err(|_| malformed("X-Checksum-Sha256"))?;
            let text = format!("sha256:{}", hex.trim().to_ascii_lowercase());
            let digest = text.parse().map_err(|_| malformed("X-Checksum-Sha256"))?;
            claim(&mut claimed.sha256, digest)?;
        }
        Ok(claimed)
    }

    /// `NAME=:BASE64:`, maybe with parameters.
    fn member(&mut self, text: &str) -> Result<(), Fail> {
        let (name, value) = text.trim().split_once('=').unwrap_or((text, ""));
        let (slot, algorithm) = match name.trim() {
            "sha-256" => (&mut self.sha256, Algorithm::Sha256),
            "sha-512" => (&mut self.sha512, Algorithm::Sha512),
            _ => return Ok(()),
        };
        let bytes = value.trim().strip_prefix(':').and_then(|rest| {
            let (coded, _) = rest.split_once(':')?;
            STANDARD.decode(coded).ok()
        });
        let digest = bytes.and_then(|bytes| Digest::from_raw(algorithm, &bytes).ok());
        claim(slot, digest.ok_or_else(|| malformed("Repr-Digest"))?)
    }
}

fn claim(slot: &mut Option<Digest>, digest: Digest) -> Result<(), Fail> {
    match slot.replace(digest) {
        Some(other) if other != digest => Err(Fail::bad(
            "DIGEST_INVALID",
            "the request names two different digests of one algorithm",
        )),
        _ => Ok(()),
    }
}

fn malformed(header: &str) -> Fail {
    let form = match header {
        "Repr-Digest" => "sha-256=:BASE64: or sha-512=:BASE64:",
        _ => "64 hexadecimal digits",
    };
    Fail::bad(
        "DIGEST_INVALID",
        format!("{header} cannot be read; it is written {form}"),
    )
}

/// A body that ends with an error unless it has this digest.
pub struct Checked<S> {
    body: S,
    hasher: Option<Hasher>,
    want: Digest,
}

/// Why a [`Checked`] body broke off.
pub enum CheckedError<E> {
    /// The body itself did.
    Body(E),
    /// It is another one.
    Differs {
        /// By the request.
        want: Digest,
        /// By its bytes.
        got: Digest,
    },
}

impl<E: fmt::Display> fmt::Display for CheckedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Differs { want, got } => {
                write!(f, "its digest is {got}, and the request says {want}")
            }
        }
    }
}

impl<S> Checked<S> {
    /// `body`, to be checked on the way.
    pub fn new(body: S, want: Digest) -> Self {
        Self {
            body,
            hasher: Some(Hasher::new(want.algorithm())),
            want,
        }
    }
}

impl<S, E> Stream for Checked<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    type Item = Result<Bytes, CheckedError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        Poll::Ready(match ready!(Pin::new(&mut this.body).poll_next(cx)) {
            Some(Ok(bytes)) => {
                if let Some(hasher) = &mut this.hasher {
                    hasher.update(&bytes);
                }
                Some(Ok(bytes))
            }
            Some(Err(error)) => Some(Err(CheckedError::Body(error))),
            None => {
                let got = this.hasher.take().map(Hasher::finish);
                let want = this.want;
                got.filter(|got| *got != want)
                    .map(|got| Err(CheckedError::Differs { want, got }))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Option<ClaimedDigests> {
        let headers = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                value.parse().expect("a value"),
            )
        });
        ClaimedDigests::of(&headers.collect()).ok()
    }

    #[test]
    fn claims_read_back() {
        let (a, b) = (
            Digest::of(Algorithm::Sha256, b"a"),
            Digest::of(Algorithm::Sha512, b"a"),
        );
        let both = format!("md5=:AAAA:, {};x=1,{}", repr(&a), repr(&b));
        let claimed = ClaimedDigests {
            sha256: Some(a),
            sha512: Some(b),
        };
        assert_eq!(of(&[("repr-digest", &both)]), Some(claimed));
        let hex = a.hex().to_ascii_uppercase();
        let one = ClaimedDigests {
            sha256: Some(a),
            sha512: None,
        };
        let pairs = [("repr-digest", &*repr(&a)), ("x-checksum-sha256", &*hex)];
        assert_eq!(of(&pairs), Some(one));
        assert_eq!(of(&[]), Some(ClaimedDigests::default()));
        assert_eq!(
            of(&[("repr-digest", "id=?1")]),
            Some(ClaimedDigests::default())
        );
        for bad in ["sha-256", "sha-256=abc", "sha-256=:AAAA:", "sha-256=:%:"] {
            assert_eq!(of(&[("repr-digest", bad)]), None, "{bad}");
        }
        let other = Digest::of(Algorithm::Sha256, b"b").hex();
        let pairs = [("repr-digest", &*repr(&a)), ("x-checksum-sha256", &*other)];
        assert_eq!(of(&pairs), None);
        assert_eq!(of(&[("x-checksum-sha256", "00")]), None);
    }
}
