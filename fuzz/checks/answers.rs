//! What other registries answer: tokens, parts of blobs, lists of referrers, coded bodies, platforms.

use super::text;
use dryport::fetch::answers::{TokenAnswer, first_byte};
use dryport::fetch::coding::plain;
use dryport::formats::oci::body::Platform;
use dryport::mirror::document::Referrers;
use dryport::types::{Algorithm, Digest};

/// The same bytes as each of these: what is taken from them is bounded, and of use.
pub fn answers(data: &[u8]) {
    if let Some(answer) = TokenAnswer::read(data) {
        assert!((1..=86_400).contains(&answer.life));
        let token = answer.token.as_deref();
        assert!(token.is_none_or(|t| !t.is_empty() && t.trim() == t && t.len() <= data.len()));
    }
    for limit in [0, 1, 1000, 100_000] {
        if let Some(Ok(plain)) = plain(data, limit) {
            assert!(plain.len() as u64 <= limit);
        }
    }
    let subject = Digest::of(Algorithm::Sha256, b"subject");
    for most in [0, 1, 1000] {
        if let Ok(list) = Referrers::parse(&subject, data, most) {
            assert!(list.listed.len() <= most);
            assert!(list.is_list || (list.listed.is_empty() && list.nameless == 0));
        }
    }
    let Some(text) = text(data) else { return };
    for size in [0, 1, 10, 1000, u64::MAX] {
        if let Some(first) = first_byte(text, size) {
            assert!(first < size);
            assert_eq!(
                first_byte(&format!("bytes {first}-{first}/{size}"), size),
                Some(first)
            );
        }
    }
    if let Some(platform) = Platform::read(text) {
        assert!(platform.to_string().len() <= data.len() + 2);
    }
}
