//! Manifests as far as copying needs them: what they name, in digests. Their bytes are kept as they came; nothing else
//! of foreign text is, for the lists may be long. What the fields mean is the repository's reader's (`formats::oci`).

use crate::formats::oci::body::{self, RawManifest};
use crate::formats::oci::fields;
use crate::mirror::MirrorError;
use crate::repo::format::Said;
use crate::types::{Digest, MediaType};
use bytes::Bytes;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

pub use crate::formats::oci::body::Platform;

/// So many descriptors of one list are read at most: no manifest that can be kept names more digests than 4,000.
const LISTED_MAX: usize = 10_000;
/// The types of an image's configuration, in which stands what the image runs on.
const CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// A descriptor (image-spec, descriptor.md), as much of it as copying needs.
#[derive(Debug, Clone)]
pub struct SourceDescriptor {
    /// `None` if what is written there is no digest.
    digest: Option<Digest>,
    /// Length in bytes, as claimed; 0 may be that nothing is said ([`body::Descriptor::is_open`]).
    pub size: u64,
    /// The source may not have it.
    pub optional: bool,
    /// What an image of an index runs on.
    pub platform: Option<Platform>,
    /// The manifest that it attests, by an annotation of `BuildKit`'s.
    pub attests: Option<Digest>,
    /// Its type is that of an image's configuration.
    pub is_config: bool,
    /// What it says that its digest is.
    pub said: Said,
    /// Its content, if that stands in it and is right.
    pub data: Option<Bytes>,
}

impl SourceDescriptor {
    fn of(read: &body::Descriptor<'_>, is_listed: bool) -> Result<Self, String> {
        let media_type = read.media_type.as_deref().unwrap_or_default();
        Ok(Self {
            digest: read.digest.parse().ok(),
            size: u64::try_from(read.size).map_err(|_| format!("a size is {}", read.size))?,
            optional: read.may_be_elsewhere(),
            // One that says nothing is as good as none.
            platform: read.platform().filter(|p| !p.is_empty()),
            attests: read.attests(),
            said: Said::of(media_type, is_listed),
            is_config: CONFIGS.iter().any(|c| c.eq_ignore_ascii_case(media_type)),
            data: read.inline().map(Bytes::from),
        })
    }

    /// The digest, checked.
    pub fn digest(&self) -> Result<Digest, MirrorError> {
        self.digest.ok_or_else(|| {
            MirrorError::Verify(
                "a descriptor of the source is malformed: it has no sha256 or sha512 digest".into(),
            )
        })
    }
}

/// What a manifest or index says, whichever of the two it is.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// The manifests of an index.
    pub manifests: Option<Vec<SourceDescriptor>>,
    /// The configuration of an image.
    pub config: Option<SourceDescriptor>,
    /// The layers of an image, and the blobs of the artifact manifest that OCI withdrew before 1.1.
    pub layers: Vec<SourceDescriptor>,
}

impl Document {
    /// Reads a manifest of this type; `digest` is for the error only.
    pub fn parse(
        digest: &Digest,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Self, MirrorError> {
        let bad = |why: &dyn fmt::Display| malformed(digest, why);
        let read = RawManifest::read(bytes).map_err(|e| bad(&e))?;
        let read = fields(&read, media_type).map_err(|e| bad(&e))?;
        let list = |list: &[body::Descriptor<'_>], is_listed: bool| {
            if list.len() > LISTED_MAX {
                return Err(bad(&format!(
                    "a list has more than {LISTED_MAX} descriptors"
                )));
            }
            // Of somebody else's type, what names nothing is followed no more than the repository does.
            let is_other = !MediaType::MANIFESTS.contains(&media_type.as_str());
            let all = list.iter().map(|one| SourceDescriptor::of(one, is_listed));
            let all =
                all.filter(|read| !is_other || read.as_ref().is_ok_and(|one| one.digest.is_some()));
            all.collect::<Result<Vec<_>, _>>().map_err(|e| bad(&e))
        };
        let mut layers = list(read.layers.as_deref().unwrap_or_default(), false)?;
        layers.extend(list(read.blobs.as_deref().unwrap_or_default(), false)?);
        Ok(Self {
            manifests: (read.manifests.as_deref())
                .map(|manifests| list(manifests, true))
                .transpose()?,
            config: list(read.config.as_slice(), false)?.pop(),
            layers,
        })
    }

    /// What stands where blobs do.
    pub fn content(&self) -> impl Iterator<Item = &SourceDescriptor> {
        self.config.iter().chain(&self.layers)
    }

    /// What stands there and is said to be a manifest.
    pub fn misplaced(&self) -> impl Iterator<Item = &SourceDescriptor> {
        self.content()
            .filter(|d| d.said == Said::Manifest && !d.optional)
    }

    /// The blobs that a client will ask for. `is_blob` knows what was found to be one of what may be a manifest.
    pub fn blobs(
        &self,
        is_blob: impl Fn(&Digest) -> bool,
    ) -> impl Iterator<Item = &SourceDescriptor> {
        let manifests = self.manifests.iter().flatten();
        let listed = manifests.map(|d| (d, true));
        let content = self.content();
        let all = content.map(|d| (d, d.said == Said::Manifest && !d.optional));
        all.chain(listed)
            .filter(move |(d, may_be_manifest)| {
                !may_be_manifest || d.digest.as_ref().is_some_and(&is_blob)
            })
            .map(|(d, _)| d)
    }
}

fn malformed(digest: &Digest, why: &dyn fmt::Display) -> MirrorError {
    MirrorError::Verify(format!(
        "manifest {digest} of the source is malformed: {why}"
    ))
}

/// What this manifest is: what it says of itself, else what came with it, where that is the type of a manifest and can be
/// true, else what its fields tell. Many registries and file servers answer with types of their own.
pub fn media_type(
    digest: &Digest,
    bytes: &[u8],
    header: Option<&str>,
) -> Result<MediaType, MirrorError> {
    let document = RawManifest::read(bytes).map_err(|e| malformed(digest, &e))?;
    if document.schema_version() == Some(1) {
        return Err(MirrorError::Verify(format!(
            "{digest} is a docker schema 1 manifest, which no client of today reads"
        )));
    }
    let own = document.media_type().and_then(|own| own.parse().ok());
    let own = own.map(|own: MediaType| own.lower());
    if let Some(own) = own.filter(|own| !is_generic(own.as_str())) {
        return Ok(own);
    }
    let is_index = document.has_manifests();
    let header = header.and_then(|header| header.parse().ok());
    let header = header.map(|header: MediaType| header.lower());
    if let Some(header) = header.filter(|header| can_be(header.as_str(), is_index)) {
        return Ok(header);
    }
    let guess = if is_index {
        MediaType::OCI_INDEX
    } else {
        MediaType::OCI_MANIFEST
    };
    guess
        .parse()
        .map_err(|e| MirrorError::Internal(format!("{e}")))
}

/// Whether a type says nothing: these are what the repository takes for none, too.
fn is_generic(media_type: &str) -> bool {
    matches!(media_type, "application/json" | "application/octet-stream")
}

/// Whether this is the type of a manifest, and of one with or without a list of manifests.
fn can_be(media_type: &str, is_index: bool) -> bool {
    match media_type {
        MediaType::OCI_INDEX | MediaType::DOCKER_LIST => is_index,
        MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST => !is_index,
        other => {
            // What claims to be schema 1 here is not: its version says so.
            let old = other.starts_with("application/vnd.docker.distribution.manifest.v1+");
            !old && other.starts_with("application/vnd.") && other.ends_with("+json")
        }
    }
}

/// The descriptors of a list of referrers (distribution-spec, "Listing Referrers"): of each, what it is and how long it
/// says that it is.
///
/// What is no descriptor, or has no digest, is passed over and counted.
#[derive(Debug, Default)]
pub struct Referrers {
    /// What it lists.
    pub listed: Vec<(Digest, u64)>,
    /// Entries that name nothing.
    pub nameless: u64,
    /// Whether there is a list at all, be it empty.
    pub is_list: bool,
}

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
        let (listed, nameless) = found.unwrap_or_default();
        Ok(Self {
            listed,
            nameless,
            is_list,
        })
    }
}

/// Digests and sizes, and how many entries have none.
type Entries = (Vec<(Digest, u64)>, u64);

/// An index, of which nothing stays but the digests and sizes of its manifests, so many at most.
struct Page(usize);

impl<'de> DeserializeSeed<'de> for Page {
    type Value = Option<Entries>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Page {
    type Value = Option<Entries>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "manifests" {
                found = Some(map.next_value_seed(Listed(self.0))?);
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
    type Value = Entries;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Listed {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(Entries::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut nameless) = (Vec::new(), 0);
        while let Some(raw) = list.next_element::<&RawValue>()? {
            let read = body::Descriptor::read(raw).ok();
            match read.and_then(|read| Some((read.digest.parse().ok()?, read.size))) {
                // Some give no size; it is a hint, and nothing is held against it.
                Some((digest, size)) if found.len() < self.0 => {
                    found.push((digest, u64::try_from(size).unwrap_or(0)));
                }
                Some(_) => {
                    let most = self.0;
                    return Err(A::Error::custom(format!(
                        "a list has more than {most} descriptors"
                    )));
                }
                None => nameless += 1,
            }
        }
        Ok((found, nameless))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    fn subject() -> Digest {
        Digest::of(Algorithm::Sha256, b"subject")
    }

    #[test]
    fn media_types() {
        let index = r#"{"manifests": []}"#;
        let image = r#"{"schemaVersion": 2, "config": {}}"#;
        let own = r#"{"config": {}, "mediaType": "application/vnd.docker.distribution.manifest.v2+JSON"}"#;
        let empty = r#"{"config": {}, "mediaType": "", "manifests": null}"#;
        let json = r#"{"config": {}, "mediaType": "application/json"}"#;
        let pretty = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        for (body, header, want) in [
            (index, None, MediaType::OCI_INDEX),
            (
                index,
                Some("text/plain; charset=utf-8"),
                MediaType::OCI_INDEX,
            ),
            (index, Some(MediaType::DOCKER_LIST), MediaType::DOCKER_LIST),
            (index, Some(MediaType::OCI_MANIFEST), MediaType::OCI_INDEX),
            (image, Some(MediaType::DOCKER_LIST), MediaType::OCI_MANIFEST),
            (
                image,
                Some(MediaType::DOCKER_MANIFEST),
                MediaType::DOCKER_MANIFEST,
            ),
            (
                image,
                Some("Application/VND.docker.distribution.manifest.V2+json"),
                MediaType::DOCKER_MANIFEST,
            ),
            (image, Some(pretty), MediaType::OCI_MANIFEST),
            (
                image,
                Some("application/vnd.acme.v1+json"),
                "application/vnd.acme.v1+json",
            ),
            (own, Some(pretty), MediaType::DOCKER_MANIFEST),
            (
                own,
                Some(MediaType::OCI_MANIFEST),
                MediaType::DOCKER_MANIFEST,
            ),
            (empty, Some("binary/octet-stream"), MediaType::OCI_MANIFEST),
            (json, Some("text/json"), MediaType::OCI_MANIFEST),
            (image, Some("application/xml"), MediaType::OCI_MANIFEST),
            (
                image,
                Some("application/x-www-form-urlencoded"),
                MediaType::OCI_MANIFEST,
            ),
            (image, Some("unknown"), MediaType::OCI_MANIFEST),
            (image, Some(""), MediaType::OCI_MANIFEST),
        ] {
            let got = media_type(&subject(), body.as_bytes(), header).expect(body);
            assert_eq!(got.as_str(), want, "{body} as {header:?}");
        }
        let old = media_type(&subject(), br#"{"schemaVersion":1}"#, None);
        assert!(old.expect_err("old").to_string().contains("schema 1"));
        assert!(media_type(&subject(), b"<html>", Some(MediaType::OCI_MANIFEST)).is_err());
    }

    #[test]
    fn lists_are_bounded_and_only_digests_stay() {
        let subject = subject();
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
        assert_eq!((found.listed, found.nameless), (vec![(subject, 7); 3], 0));
        // What names nothing takes nothing from the others.
        for odd in [
            "{}",
            "null",
            "7",
            r#"{"digest":null}"#,
            r#"{"digest":"sha256:x","size":7}"#,
            r#"{"digest":7,"size":7}"#,
        ] {
            let text = page(2)
                .replace("],\"more", &format!(",{odd}],\"more"))
                .replace("[{", &format!("[{odd},{{"));
            let found = Referrers::parse(&subject, text.as_bytes(), 2).expect(odd);
            assert_eq!((found.listed.len(), found.nameless), (2, 2), "{text}");
        }
        for bad in [
            page(4),
            page(1) + "x",
            "[]".into(),
            r#"{"manifests":{}}"#.into(),
            r#"{"manifests":[{]}"#.into(),
        ] {
            Referrers::parse(&subject, bad.as_bytes(), 3).expect_err(&bad);
        }
        for none in ["{}", r#"{"manifests":null}"#, r#"{"manifests":[]}"#] {
            let found = Referrers::parse(&subject, none.as_bytes(), 3).expect("none");
            assert!(found.listed.is_empty() && found.nameless == 0);
            assert_eq!(found.is_list, none != "{}");
        }
        let null =
            r#","mediaType":null,"urls":null,"annotations":null,"platform":null,"data":null}"#;
        let nulls = page(1)
            .replace("}]", &format!("{null}]"))
            .replace(r#""annotations":{"#, r#""x":{"#);
        let found = Referrers::parse(&subject, nulls.as_bytes(), 3).expect("one");
        assert_eq!(found.listed.len(), 1);
        let index: MediaType = MediaType::OCI_INDEX.parse().expect("type");
        let most = Document::parse(&subject, &index, page(LISTED_MAX).as_bytes());
        assert_eq!(
            most.expect("most").manifests.map(|m| m.len()),
            Some(LISTED_MAX)
        );
        let error = Document::parse(&subject, &index, page(LISTED_MAX + 1).as_bytes());
        assert!(error.expect_err("more").to_string().contains("10000"));
    }

    #[test]
    fn content_that_stands_in_its_descriptor() {
        let of = Digest::of(Algorithm::Sha256, b"{}");
        let body = format!(
            r#"{{"layers":[{{"digest":"{of}","size":2}},{{"digest":"{of}","size":2,"data":"e30="}}]}}"#
        );
        let image: MediaType = MediaType::OCI_MANIFEST.parse().expect("type");
        let read = Document::parse(&subject(), &image, body.as_bytes()).expect("valid");
        let found: Vec<_> = read.content().map(|d| d.data.as_deref()).collect();
        assert_eq!(found, [None, Some(&b"{}"[..])]);
    }
}
