//! Manifests, and the state of an upload: its record, its hash, the names of its files.

use super::text;
use dryport::blobs::{Place, UploadName};
use dryport::formats::oci::Oci;
use dryport::mirror::document::{Document, SourceDescriptor, media_type};
use dryport::repo::format::{Format as _, Inspected};
use dryport::repo::rows::record::UploadRecord;
use dryport::store::record::Record as _;
use dryport::types::{Algorithm, Digest, Hasher, MediaType};
use std::collections::HashSet;

/// A line with the media type that it was pushed with (or none), then the manifest: what it names is bounded, is the
/// same when it is read again later under the type that was recorded, and is what a mirror would copy.
pub fn manifest(data: &[u8]) {
    let Some(end) = data.iter().position(|b| *b == b'\n') else {
        return;
    };
    let (declared, bytes) = (&data[..end], &data[end + 1..]);
    let declared = text(declared).and_then(|d| d.parse::<MediaType>().ok());
    let Ok(found) = Oci.inspect(bytes, declared.as_ref()) else {
        return;
    };
    let own = found.media_type.as_str();
    assert!(
        own.starts_with("application/vnd.") && own.ends_with("+json"),
        "{own}"
    );
    if let Some(declared) = declared {
        let generic = ["application/json", "application/octet-stream"];
        let same = |text: &str| text.eq_ignore_ascii_case(declared.as_str());
        assert!(same(own) || generic.into_iter().any(same), "{declared}");
    }
    assert_eq!(
        Oci.inspect(bytes, Some(&found.media_type)).as_ref(),
        Ok(&found)
    );
    assert!(found.children.len() <= 4000);
    assert!(found.children.is_sorted_by_key(|c| c.digest));
    let digests: HashSet<Digest> = found.children.iter().map(|c| c.digest).collect();
    assert_eq!(digests.len(), found.children.len());
    assert!(found.children.iter().all(|c| i64::try_from(c.size).is_ok()));
    assert!(found.artifact_type.len() <= 255 && !found.artifact_type.contains('\0'));
    let digest = Digest::of(Algorithm::Sha256, bytes);
    if let Ok(document) = Document::parse(&digest, &found.media_type, bytes) {
        mirrored(&found, &document);
    }
    // Schema 1 is refused.
    if let Ok(again) = media_type(&digest, bytes, Some(own)) {
        assert_eq!(again, found.media_type);
    }
}

/// A mirror that copies what the document names has copied what the repository will look for, at the same size.
fn mirrored(found: &Inspected, document: &Document) {
    let manifests = document.manifests.as_deref().unwrap_or_default();
    let named: Vec<&SourceDescriptor> = document.content().chain(manifests).collect();
    for child in &found.children {
        let same = |d: &&SourceDescriptor| d.digest().is_ok_and(|digest| digest == child.digest);
        let there: Vec<_> = named.iter().filter(|d| same(d)).collect();
        assert!(!there.is_empty(), "{child:?}");
        assert!(there.iter().any(|d| d.size == child.size), "{child:?}");
        assert!(
            there.iter().any(|d| d.optional == child.optional),
            "{child:?}"
        );
        let is_manifest = manifests.iter().any(|d| same(&d));
        assert!(is_manifest || !child.is_listed, "{child:?}");
    }
}

/// One byte for the algorithm, eight of an offset, then a saved hash state; the same bytes as an upload's record, as
/// the name of an upload file and as a content file's place.
pub fn upload(data: &[u8]) {
    if let Some(([algorithm, offset @ ..], state)) = data.split_first_chunk::<9>()
        && let Some(algorithm) = Algorithm::from_code(*algorithm)
    {
        goes_on(algorithm, state, u64::from_le_bytes(*offset));
    }
    if let Ok(record) = UploadRecord::from_bytes(data)
        && let Some(algorithm) = Algorithm::from_code(record.algorithm)
    {
        goes_on(algorithm, &record.hash_state, record.offset);
    }
    let Some(text) = text(data) else { return };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'/';
    if let Some(name) = UploadName::parse(text) {
        assert_eq!(name.to_string(), text);
        assert!(text.bytes().all(plain) && !text.contains(['/']) && !text.contains(".."));
    }
    if let Ok(place) = Place::parse(text) {
        assert_eq!(place.to_string(), text);
        assert!(text.bytes().all(plain) && !text.contains("..") && !text.starts_with('/'));
        let digest = place.digest().expect("a place has a digest");
        let parts: Vec<&str> = text.split('/').collect();
        let (hex, algorithm) = (digest.hex(), digest.algorithm().name());
        assert_eq!(parts[..2], [algorithm, &hex[..2]]);
        assert!(parts.len() == 3 && parts[2].starts_with(&hex));
    }
}

/// A state that is taken is the one that is saved again, covers what the record says, and goes on without a fault.
fn goes_on(algorithm: Algorithm, state: &[u8], offset: u64) {
    let Some(mut hasher) = Hasher::restore(algorithm, state, offset) else {
        return;
    };
    assert_eq!(hasher.save(), state);
    let more = [0x5a; 300];
    hasher.update(&more[..7]);
    let mut again = Hasher::restore(algorithm, &hasher.save(), offset + 7).expect("its own state");
    hasher.update(&more[7..]);
    again.update(&more[7..]);
    assert_eq!(hasher.save(), again.save());
    assert_eq!(hasher.finish(), again.finish());
}
