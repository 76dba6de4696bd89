//! Content digests (OCI image-spec, descriptor.md#digests): sha256 and sha512 are equals.
//!
//! Owns the text form, the key form (algorithm byte, then the raw bytes) and the running hash with its saved state.

use super::as_text;
use sha2::Digest as _;
use sha2::digest::common::hazmat::SerializableState;
use std::fmt;
use std::str::FromStr;

/// A hash algorithm that content may be named by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: 32 bytes.
    Sha256,
    /// SHA-512: 64 bytes.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in key order.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The registered identifier: `sha256` or `sha512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the raw hash in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The first byte of a digest in a key; never changes meaning.
    pub const fn code(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// The algorithm of a key's first byte.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha512),
            _ => None,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::ALL
            .into_iter()
            .find(|a| a.name() == text)
            .ok_or_else(|| DigestError::Algorithm(clip(text)))
    }
}

/// Why a text or key is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No colon between algorithm and hash.
    #[error("a digest is written ALGORITHM:HEX, for example sha256:0123...; got \"{0}\"")]
    Shape(String),
    /// The algorithm is not one that this registry stores.
    #[error("digest algorithm \"{0}\" is not supported; use sha256 or sha512")]
    Algorithm(String),
    /// The hash is not lower-case hexadecimal of the right length.
    #[error("a {0} digest has {1} lower-case hexadecimal characters")]
    Hex(&'static str, usize),
    /// A stored key is not a digest.
    #[error("stored bytes are not a digest key")]
    Key,
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The digest of some bytes: algorithm and hash. Cheap to copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    key: [u8; 65],
}

impl Digest {
    /// The digest made of an algorithm and raw hash bytes of exactly its length.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Result<Self, DigestError> {
        if raw.len() != algorithm.bytes() {
            return Err(DigestError::Key);
        }
        let mut key = [0; 65];
        key[0] = algorithm.code();
        key[1..=raw.len()].copy_from_slice(raw);
        Ok(Self { key })
    }

    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::from_code(self.key[0]).unwrap_or(Algorithm::Sha256)
    }

    /// The key form: algorithm byte, then the raw hash (33 or 65 bytes).
    pub fn as_key(&self) -> &[u8] {
        &self.key[..=self.algorithm().bytes()]
    }

    /// The digest whose key form stands at the start of `key`, and what follows it.
    pub fn split_key(key: &[u8]) -> Result<(Self, &[u8]), DigestError> {
        let algorithm = key
            .first()
            .and_then(|c| Algorithm::from_code(*c))
            .ok_or(DigestError::Key)?;
        if key.len() <= algorithm.bytes() {
            return Err(DigestError::Key);
        }
        let (raw, rest) = key[1..].split_at(algorithm.bytes());
        Ok((Self::from_raw(algorithm, raw)?, rest))
    }

    /// The digest of a key form and nothing else.
    pub fn from_key(key: &[u8]) -> Result<Self, DigestError> {
        match Self::split_key(key)? {
            (digest, []) => Ok(digest),
            _ => Err(DigestError::Key),
        }
    }

    /// The hash in lower-case hexadecimal.
    pub fn hex(&self) -> String {
        hex(&self.as_key()[1..])
    }
}

/// Lower-case hexadecimal of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = vec![0; bytes.len() * 2];
    put_hex(bytes, &mut text);
    // It is ASCII.
    String::from_utf8(text).unwrap_or_default()
}

/// Two digits a byte.
fn put_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair.copy_from_slice(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

/// The bytes of lower-case hexadecimal; `None` if it is anything else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2)
        .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
        .collect()
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hash) = text
            .split_once(':')
            .ok_or_else(|| DigestError::Shape(clip(text)))?;
        let algorithm: Algorithm = algorithm.parse()?;
        let bad = DigestError::Hex(algorithm.name(), algorithm.bytes() * 2);
        if hash.len() != algorithm.bytes() * 2 {
            return Err(bad);
        }
        Self::from_raw(algorithm, &unhex(hash).ok_or(bad)?)
    }
}

/// The longest text of a digest: `sha512:` and 128 digits.
const TEXT: usize = 7 + 128;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: every answer has two of them, and a text that is put together grows twice.
        let (name, raw) = (self.algorithm().name(), &self.as_key()[1..]);
        let (colon, len) = (name.len(), name.len() + 1 + 2 * raw.len());
        let mut text = [0; TEXT];
        text[..colon].copy_from_slice(name.as_bytes());
        text[colon] = b':';
        put_hex(raw, &mut text[colon + 1..len]);
        f.write_str(std::str::from_utf8(&text[..len]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

as_text!(
    Digest,
    "Digest",
    "A digest: the algorithm and the hash in lower-case hexadecimal.",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
);

/// A running hash whose state can be saved and taken up again, so that an upload goes on after a restart without
/// reading its bytes a second time.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(sha2::Sha256),
    /// SHA-512.
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
        }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(h) => h.update(bytes),
            Self::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        let mut key = [0; 65];
        match self {
            Self::Sha256(h) => {
                key[0] = Algorithm::Sha256.code();
                key[1..33].copy_from_slice(&h.finalize());
            }
            Self::Sha512(h) => {
                key[0] = Algorithm::Sha512.code();
                key[1..].copy_from_slice(&h.finalize());
            }
        }
        Digest { key }
    }

    /// The state, to be kept beside the number of bytes it covers. The layout belongs to the `sha2` crate, hence the
    /// leading version byte: bump it when the crate's layout changes.
    pub fn save(&self) -> Vec<u8> {
        let mut state = vec![STATE_VERSION];
        match self {
            Self::Sha256(h) => state.extend_from_slice(&h.serialize()),
            Self::Sha512(h) => state.extend_from_slice(&h.serialize()),
        }
        state
    }

    /// The hash of a saved state that covers `covered` bytes; `None` if the state is of another version, torn, of
    /// another algorithm or of another number of bytes.
    pub fn restore(algorithm: Algorithm, state: &[u8], covered: u64) -> Option<Self> {
        let (version, state) = state.split_first()?;
        if *version != STATE_VERSION || counted(algorithm, state)? != covered {
            return None;
        }
        match algorithm {
            Algorithm::Sha256 => sha2::Sha256::deserialize(state.try_into().ok()?)
                .ok()
                .map(Self::Sha256),
            Algorithm::Sha512 => sha2::Sha512::deserialize(state.try_into().ok()?)
                .ok()
                .map(Self::Sha512),
        }
    }
}

const STATE_VERSION: u8 = 1;

/// The most bytes that a saved state may cover, 1 EiB: SHA-256 counts bits in 64 bits, and `sha2` does not look whether
/// they suffice.
const COVERED_MAX: u64 = 1 << 60;

/// The bytes that a state of version 1 (without its version byte) has taken in: after the words of the hash stand the
/// number of whole blocks, little-endian, and the number of bytes in the block under way.
fn counted(algorithm: Algorithm, state: &[u8]) -> Option<u64> {
    let (words, number, block) = match algorithm {
        Algorithm::Sha256 => (32, 8, 64),
        Algorithm::Sha512 => (64, 16, 128),
    };
    let blocks = state.get(words..words + number)?;
    let (low, high) = blocks.split_first_chunk::<8>()?;
    if high.iter().any(|b| *b != 0) {
        return None;
    }
    let pending = u64::from(*state.get(words + number)?);
    let whole = u64::from_le_bytes(*low).checked_mul(block)?;
    whole
        .checked_add(pending)
        .filter(|bytes| *bytes <= COVERED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_forms() {
        let empty = Digest::of(Algorithm::Sha256, b"");
        assert_eq!(
            empty.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(empty.to_string().parse(), Ok(empty));
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:00",
            "md5:00",
            "sha384:00",
            "sha256:E3",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let upper = empty.to_string().to_uppercase();
        assert!(upper.parse::<Digest>().is_err());
    }

    proptest! {
        #[test]
        fn key_and_text_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..200), wide: bool) {
            let algorithm = if wide { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::of(algorithm, &bytes);
            prop_assert_eq!(Digest::from_key(digest.as_key()), Ok(digest));
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        }

        #[test]
        fn a_saved_hash_goes_on(a in proptest::collection::vec(any::<u8>(), 0..500), b in proptest::collection::vec(any::<u8>(), 0..500)) {
            for algorithm in Algorithm::ALL {
                let mut first = Hasher::new(algorithm);
                first.update(&a);
                let mut second = Hasher::restore(algorithm, &first.save(), a.len() as u64).expect("own state");
                second.update(&b);
                prop_assert_eq!(second.finish(), Digest::of(algorithm, &[a.clone(), b.clone()].concat()));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = text.parse::<Digest>();
            let _ = Digest::from_key(text.as_bytes());
        }
    }
}
