//! The closure of an image, ready to be copied: its manifests, the blobs that they name, and what of it may be left out.

use super::MirrorError;
use super::document::SourceDescriptor;
use super::evidence::Notes;
use super::oci::Fetched;
use crate::formats::oci::body;
use crate::types::{Digest, Tag};
use bytes::Bytes;
use std::collections::HashMap;

/// The blobs of an image cannot be more bytes than this, the most that a size may be (image-spec: a signed 64-bit number).
const BYTES_MAX: u64 = i64::MAX as u64;
/// A blob to copy.
#[derive(Debug, Clone)]
pub(super) struct PlannedBlob {
    pub digest: Digest,
    /// 0 may be that no descriptor says it ([`body::Descriptor::is_open`]).
    pub size: u64,
    /// The source may not give it away; then it is left out.
    pub optional: bool,
    /// Only what is attached to the image names it.
    pub attached: bool,
    /// Its content, if that stands in a descriptor.
    pub data: Option<Bytes>,
}

/// A manifest to commit.
#[derive(Debug)]
pub(super) struct Planned {
    pub fetched: Fetched,
    /// The manifest that it is attached to; none if it is part of what was asked for.
    pub of: Option<Digest>,
}

/// The closure, ready to be copied.
#[derive(Debug)]
pub(super) struct Plan {
    pub root: Digest,
    /// Children before what names them.
    pub manifests: Vec<Planned>,
    pub blobs: Vec<PlannedBlob>,
    pub tags: Vec<(Tag, Digest)>,
    pub notes: Notes,
}

impl Plan {
    /// Leaves out what is attached and names something that could not be had (with the reasons), directly or not. What was
    /// asked for stays: whoever calls this has all of that.
    pub fn leave_out(&mut self, lacking: &mut HashMap<Digest, String>) -> Result<(), MirrorError> {
        // What is attached leads no deeper than the walk went, so this ends after as many rounds.
        let mut is_done = lacking.is_empty();
        while !is_done {
            is_done = true;
            let all = std::mem::take(&mut self.manifests);
            for planned in all {
                match lacks(&planned, lacking)? {
                    Some((subject, why)) => {
                        let digest = planned.fetched.digest;
                        self.notes.missing(&subject, &digest.to_string(), &why);
                        lacking.insert(digest, "it was left out".to_owned());
                        is_done = false;
                    }
                    None => self.manifests.push(planned),
                }
            }
        }
        self.tags
            .retain(|(_, digest)| !lacking.contains_key(digest));
        Ok(())
    }

    /// Leaves out attached manifests that are lacking themselves.
    pub fn drop_those(&mut self, lacking: &HashMap<Digest, String>) {
        let notes = &mut self.notes;
        self.manifests.retain(|planned| {
            let digest = planned.fetched.digest;
            let (Some(of), Some(why)) = (planned.of, lacking.get(&digest)) else {
                return true;
            };
            notes.missing(&of, &digest.to_string(), why);
            false
        });
    }
}

/// Which manifest this one is attached to, and what it names that could not be had.
fn lacks(
    planned: &Planned,
    lacking: &HashMap<Digest, String>,
) -> Result<Option<(Digest, String)>, MirrorError> {
    let Some(of) = planned.of else {
        return Ok(None);
    };
    let inspected = planned.fetched.inspect()?;
    let children = inspected.children.iter().filter(|child| !child.optional);
    let mut named = children.map(|child| child.digest).chain(inspected.subject);
    let missing = named.find_map(|digest| Some((digest, lacking.get(&digest)?)));
    Ok(missing.map(|(digest, why)| (of, format!("it names {digest}: {why}"))))
}

/// The blobs of all manifests, each once.
#[derive(Default)]
pub(super) struct PlannedBlobs {
    pub found: Vec<PlannedBlob>,
    at: HashMap<Digest, usize>,
    bytes: u64,
}

impl PlannedBlobs {
    /// Notes a blob.
    pub fn add(
        &mut self,
        descriptor: &SourceDescriptor,
        attached: bool,
    ) -> Result<(), MirrorError> {
        let digest = descriptor.digest()?;
        let inline = descriptor.data.as_ref().map(|data| data.len() as u64);
        let is_open = |size| body::Descriptor::is_open(size, &digest);
        let size = inline.filter(|_| is_open(descriptor.size));
        let size = size.unwrap_or(descriptor.size);
        let optional = descriptor.optional;
        if let Some(blob) = self.at.get(&digest).and_then(|at| self.found.get_mut(*at)) {
            if is_open(blob.size) {
                blob.size = size;
            }
            if blob.size != size && !is_open(size) {
                return Err(MirrorError::Verify(format!(
                    "the source gives blob {digest} two sizes"
                )));
            }
            blob.optional &= optional;
            blob.attached &= attached;
            blob.data = blob.data.take().or_else(|| descriptor.data.clone());
            return Ok(());
        }
        // Sizes are claims until the bytes have come; what follows adds them up.
        let bytes = self.bytes.checked_add(size);
        self.bytes = bytes.filter(|bytes| *bytes <= BYTES_MAX).ok_or_else(|| {
            MirrorError::Verify(format!(
                "the source claims {size} bytes for blob {digest}, which makes more in all than any disk holds"
            ))
        })?;
        self.at.insert(digest, self.found.len());
        self.found.push(PlannedBlob {
            digest,
            size,
            optional,
            attached,
            data: descriptor.data.clone(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Document;
    use super::*;
    use crate::types::{Algorithm, MediaType};

    fn claiming(sizes: &[u64]) -> Result<Vec<PlannedBlob>, MirrorError> {
        let layer = |(n, size): (usize, &u64)| {
            let digest = Digest::of(Algorithm::Sha256, &[n as u8]);
            format!(r#"{{"digest":"{digest}","size":{size}}}"#)
        };
        let layers: Vec<String> = sizes.iter().enumerate().map(layer).collect();
        let body = format!(r#"{{"layers":[{}]}}"#, layers.join(","));
        let digest = Digest::of(Algorithm::Sha256, body.as_bytes());
        let media_type = MediaType::OCI_MANIFEST.parse().expect("type");
        let document = Document::parse(&digest, &media_type, body.as_bytes()).expect("manifest");
        let mut content = PlannedBlobs::default();
        for descriptor in document.content() {
            content.add(descriptor, false)?;
        }
        Ok(content.found)
    }

    #[test]
    fn claimed_sizes_never_overflow_their_sum() {
        assert_eq!(claiming(&[1, 2]).expect("blobs").len(), 2);
        for sizes in [
            &[BYTES_MAX, 1][..],
            &[BYTES_MAX, BYTES_MAX],
            &[1, 2, BYTES_MAX],
        ] {
            let error = claiming(sizes).expect_err("refused").to_string();
            assert!(error.contains("more in all"), "{error}");
        }
    }
}
