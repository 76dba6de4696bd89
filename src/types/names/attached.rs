//! The tags under which clients keep what is attached to a manifest: they are made of its digest. `sha256-HEX` lists what
//! refers to it where a registry has no other list (distribution-spec, "Referrers Tag Schema"); with `.sig`, `.att` or
//! `.sbom` behind it, it is cosign's.

use crate::types::{Algorithm, Digest};

/// Letters of the hash that such a tag has (distribution-spec: at most 64), and the bytes that they stand for.
const HEX: usize = 64;
const BYTES: usize = HEX / 2;
/// The endings of the tags under which cosign keeps signatures, attestations and SBOMs.
const COSIGN: [&str; 3] = [".sig", ".att", ".sbom"];

/// A tag of what is attached to a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachedTag {
    start: [u8; 1 + BYTES],
    is_list: bool,
}

impl AttachedTag {
    /// What the text of a tag says, if it is such a tag. The hash is in lower-case letters.
    pub fn read(tag: &str) -> Option<Self> {
        let (algorithm, rest) = tag.split_once('-')?;
        let algorithm: Algorithm = algorithm.parse().ok()?;
        let (hex, ending) = rest.split_at_checked(HEX)?;
        if !ending.is_empty() && !COSIGN.contains(&ending) {
            return None;
        }
        let mut start = [algorithm.code(); 1 + BYTES];
        for (byte, two) in start[1..].iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let [high, low] = [digit(two[0])?, digit(two[1])?];
            *byte = high << 4 | low;
        }
        Some(Self {
            start,
            is_list: ending.is_empty(),
        })
    }

    /// The text of the tag that lists what refers to a manifest.
    pub fn list_of(digest: &Digest) -> String {
        let mut text = digest.hex();
        text.truncate(HEX);
        format!("{}-{text}", digest.algorithm().name())
    }

    /// Whether it is a list of what refers to the manifest, and not one of cosign's.
    pub fn is_list(&self) -> bool {
        self.is_list
    }

    /// Whether it is made of this digest.
    pub fn is_of(&self, digest: &Digest) -> bool {
        digest.as_key().starts_with(&self.start)
    }

    /// What the key form of the digest that it is made of begins with: of a long one the tag has a part only.
    pub fn start(&self) -> &[u8] {
        &self.start
    }
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_of_a_digest() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"one");
            let other = Digest::of(algorithm, b"other");
            let list = AttachedTag::list_of(&digest);
            assert_eq!(list.len(), "sha256-".len() + 64);
            for ending in ["", ".sig", ".att", ".sbom"] {
                let read = AttachedTag::read(&format!("{list}{ending}")).expect(ending);
                assert!(read.is_of(&digest) && !read.is_of(&other));
                assert_eq!(read.is_list(), ending.is_empty());
                assert!(digest.as_key().starts_with(read.start()));
            }
        }
        let [short, long] = [Algorithm::Sha256, Algorithm::Sha512].map(|a| Digest::of(a, b"one"));
        let read = AttachedTag::read(&AttachedTag::list_of(&short)).expect("a list");
        assert!(!read.is_of(&long));
    }

    #[test]
    fn other_tags_are_none_of_them() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(AttachedTag::read(&format!("sha256-{hex}")).is_some());
        for other in [
            "v1".to_owned(),
            String::new(),
            format!("sha256-{}", &hex[1..]),
            format!("sha256-{hex}0"),
            format!("sha256-{}", hex.to_uppercase()),
            format!("sha256:{hex}"),
            format!("md5-{hex}"),
            format!("sha256-{hex}.SIG"),
            format!("sha256-{hex}.sig.x"),
            format!("sha256-{hex}."),
            format!("sha256-{}ä", &hex[1..]),
            format!("x-sha256-{hex}"),
        ] {
            assert_eq!(AttachedTag::read(&other), None, "{other}");
        }
    }
}
