//! Manifests as far as copying needs them: what they name, in digests. Their bytes are kept as they came; nothing else
//! of foreign text is, for the lists may be long.

use super::MirrorError;
use crate::types::{Digest, MediaType};
use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use std::borrow::Cow;
use std::fmt;

/// So many descriptors of one list are read at most: no manifest that can be kept names more digests than 4,000.
const LISTED_MAX: usize = 10_000;
/// The annotation by which buildkit ties an attestation to its image.
const ATTESTED: &str = "vnd.docker.reference.digest";

/// A descriptor (image-spec, descriptor.md), as much of it as copying needs.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// Whether its media type is that of a layer that its licence keeps at another place.
    #[serde(rename = "mediaType", deserialize_with = "nondistributable")]
    nondistributable: bool,
    /// `None` if what is written there is no digest.
    #[serde(deserialize_with = "digest")]
    digest: Option<Digest>,
    /// Length in bytes, as claimed.
    pub size: u64,
    /// What an image of an index runs on.
    pub platform: Option<Platform>,
    /// The manifest that it attests, by an annotation.
    #[serde(rename = "annotations", deserialize_with = "attested")]
    attests: Option<Digest>,
}

/// A platform (image-spec, image-index.md).
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Operating system, as Go calls it.
    pub os: String,
    /// Processor, as Go calls it.
    pub architecture: String,
    /// Variant of the processor.
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// What a manifest or index says, whichever of the two it is.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// 2 for everything of today.
    pub schema_version: Option<u64>,
    /// Its own media type, where it says one.
    pub media_type: Option<String>,
    /// The manifests of an index.
    #[serde(deserialize_with = "list")]
    pub manifests: Option<Vec<Descriptor>>,
    /// The configuration of an image.
    pub config: Option<Descriptor>,
    /// The layers of an image.
    #[serde(deserialize_with = "list")]
    pub layers: Option<Vec<Descriptor>>,
    /// The blobs of the artifact manifest that OCI withdrew before 1.1.
    #[serde(deserialize_with = "list")]
    pub blobs: Option<Vec<Descriptor>>,
}

impl Descriptor {
    /// The digest, checked.
    pub fn digest(&self) -> Result<Digest, MirrorError> {
        self.digest.ok_or_else(|| {
            MirrorError::Verify(
                "a descriptor of the source is malformed: it has no sha256 or sha512 digest".into(),
            )
        })
    }

    /// The digest of the manifest that this one attests (buildkit).
    pub fn attests(&self) -> Option<Digest> {
        self.attests
    }

    /// A layer that its licence keeps at another place (image-spec, layer.md, "Non-Distributable Layers").
    pub fn is_nondistributable(&self) -> bool {
        self.nondistributable
    }
}

/// The descriptors of a list of referrers (distribution-spec, "Listing Referrers"): of each, what it is and how long it
/// says that it is.
///
/// The second: whether there is a list at all, be it empty.
#[derive(Debug, Default)]
pub struct Referrers(pub Vec<(Digest, u64)>, pub bool);

impl Referrers {
    /// Reads a page of the list, an image index; `subject` is for the error only. The page has at most `most`.
    pub fn parse(subject: &Digest, bytes: &[u8], most: usize) -> Result<Self, MirrorError> {
        let malformed = |e| {
            let text = format!("the list of what refers to {subject} is malformed: {e}");
            MirrorError::Verify(text)
        };
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let found = Page(most).deserialize(&mut json).map_err(malformed)?;
        json.end().map_err(malformed)?;
        let is_list = found.is_some();
        Ok(Self(found.unwrap_or_default(), is_list))
    }
}

/// An index, of which nothing stays but the digests and sizes of its manifests, so many at most.
struct Page(usize);

impl<'de> DeserializeSeed<'de> for Page {
    type Value = Option<Vec<(Digest, u64)>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Page {
    type Value = Option<Vec<(Digest, u64)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "manifests" {
                let listed = map.next_value_seed(Listed(self.0))?.unwrap_or_default();
                let named = listed
                    .into_iter()
                    .map(|d: Descriptor| Some((d.digest?, d.size)));
                let named: Option<Vec<_>> = named.collect();
                found = Some(named.ok_or_else(|| A::Error::custom("a descriptor has no digest"))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A list of descriptors, so many at most, or null.
struct Listed(usize);

impl<'de> DeserializeSeed<'de> for Listed {
    type Value = Option<Vec<Descriptor>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Listed {
    type Value = Option<Vec<Descriptor>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(descriptor) = list.next_element()? {
            if found.len() == self.0 {
                let most = self.0;
                return Err(A::Error::custom(format!(
                    "a list has more than {most} descriptors"
                )));
            }
            found.push(descriptor);
        }
        Ok(Some(found))
    }
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Descriptor>>, D::Error> {
    Listed(LISTED_MAX).deserialize(deserializer)
}

fn nondistributable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let media_type = Cow::<'de, str>::deserialize(deserializer)?;
    Ok(media_type.contains(".nondistributable.") || media_type.contains(".foreign."))
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
    Ok(Cow::<'de, str>::deserialize(deserializer)?.parse().ok())
}

fn attested<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
    deserializer.deserialize_map(Annotations)
}

/// The one annotation that counts here; the others are passed over.
struct Annotations;

impl<'de> Visitor<'de> for Annotations {
    type Value = Option<Digest>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == ATTESTED {
                found = map.next_value::<Cow<'de, str>>()?.parse().ok();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

impl Document {
    /// Reads a manifest; `digest` is for the error only.
    pub fn parse(digest: &Digest, bytes: &[u8]) -> Result<Self, MirrorError> {
        serde_json::from_slice(bytes).map_err(|e| {
            MirrorError::Verify(format!("manifest {digest} of the source is malformed: {e}"))
        })
    }

    /// The blobs that a client will ask for.
    pub fn content(&self) -> impl Iterator<Item = &Descriptor> {
        let lists = [self.layers.as_deref(), self.blobs.as_deref()];
        self.config
            .iter()
            .chain(lists.into_iter().flatten().flatten())
    }

    /// The media type: the answer's header, or where that says nothing the document itself.
    pub fn media_type(&self, header: Option<&str>) -> Result<MediaType, MirrorError> {
        let header = header
            .and_then(|h| h.parse::<MediaType>().ok())
            .filter(|h| is_telling(h.as_str()));
        let own = || self.media_type.as_ref().and_then(|m| m.parse().ok());
        let guess = || {
            let kind = if self.manifests.is_some() {
                MediaType::OCI_INDEX
            } else {
                MediaType::OCI_MANIFEST
            };
            kind.parse()
                .map_err(|e| MirrorError::Verify(format!("{e}")))
        };
        header.or_else(own).map_or_else(guess, Ok)
    }
}

/// Generic types are what plain file servers answer with.
fn is_telling(media_type: &str) -> bool {
    !matches!(
        media_type,
        "application/json" | "application/octet-stream" | "text/plain" | "text/html"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    #[test]
    fn media_types() {
        let document: Document = serde_json::from_str(r#"{"manifests": []}"#).expect("valid");
        let of = |d: &Document, h| d.media_type(h).expect("type").as_str().to_owned();
        assert_eq!(of(&document, None), MediaType::OCI_INDEX);
        assert_eq!(
            of(&document, Some("text/plain; charset=utf-8")),
            MediaType::OCI_INDEX
        );
        assert_eq!(
            of(&document, Some(MediaType::DOCKER_LIST)),
            MediaType::DOCKER_LIST
        );
        let own: Document =
            serde_json::from_str(r#"{"mediaType": "application/vnd.x+json"}"#).expect("valid");
        assert_eq!(of(&own, Some("application/json")), "application/vnd.x+json");
    }

    #[test]
    fn layers_kept_elsewhere() {
        let kept = |media_type: &str| {
            let text = format!(r#"{{"mediaType":"{media_type}"}}"#);
            serde_json::from_str::<Descriptor>(&text).expect("valid")
        };
        assert!(
            kept("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
                .is_nondistributable()
        );
        assert!(
            kept("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").is_nondistributable()
        );
        assert!(!kept("application/vnd.oci.image.layer.v1.tar+gzip").is_nondistributable());
    }

    #[test]
    fn lists_are_bounded_and_only_digests_stay() {
        let subject = Digest::of(Algorithm::Sha256, b"subject");
        let one = format!(
            r#"{{"digest":"{subject}","size":7,"annotations":{{"x":"{}","y\u0041":"z"}}}}"#,
            "a".repeat(1000)
        );
        let page = |n: usize| {
            format!(
                r#"{{"manifests":[{}],"more":[1]}}"#,
                vec![one.as_str(); n].join(",")
            )
        };
        let found = Referrers::parse(&subject, page(3).as_bytes(), 3).expect("three");
        assert_eq!(found.0, vec![(subject, 7); 3]);
        for bad in [
            page(4),
            page(1) + "x",
            "[]".into(),
            r#"{"manifests":[{}]}"#.into(),
        ] {
            Referrers::parse(&subject, bad.as_bytes(), 3).expect_err(&bad);
        }
        for none in ["{}", r#"{"manifests":null}"#, r#"{"manifests":[]}"#] {
            let found = Referrers::parse(&subject, none.as_bytes(), 3);
            assert!(found.expect("none").0.is_empty());
        }
        let most = Document::parse(&subject, page(LISTED_MAX).as_bytes());
        assert_eq!(
            most.expect("most").manifests.map(|m| m.len()),
            Some(LISTED_MAX)
        );
        let error = Document::parse(&subject, page(LISTED_MAX + 1).as_bytes());
        assert!(error.expect_err("more").to_string().contains("10000"));
    }
}
