//! Descriptors (image-spec, descriptor.md), alone and in lists: read one by one, so that the error names the one that is
//! wrong, and its field.

use super::{field, form, is_there};
use crate::repo::format::FormatError;
use crate::types::Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;

/// A descriptor (image-spec descriptor.md), as far as it is looked at. What only some ask for is read when they do.
#[derive(Debug, Clone)]
pub struct Descriptor<'a> {
    /// As it came; `None` if it is empty.
    pub media_type: Option<String>,
    /// As it came; a push tells the person what is wrong with it.
    pub digest: String,
    /// Length in bytes, as claimed; 0 if nothing is said, as for readers in Go, which other registries and clients are.
    pub size: i64,
    urls: bool,
    platform: Option<&'a RawValue>,
    annotations: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

/// Its fields as they came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Raw<'a> {
    #[serde(default, borrow)]
    media_type: Option<&'a RawValue>,
    #[serde(default, borrow)]
    digest: Option<&'a RawValue>,
    #[serde(default, borrow)]
    size: Option<&'a RawValue>,
    #[serde(default, borrow)]
    urls: Option<&'a RawValue>,
    #[serde(default, borrow)]
    platform: Option<&'a RawValue>,
    #[serde(default, borrow)]
    annotations: Option<&'a RawValue>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

/// A platform (image-spec, image-index.md). What is not given, or no text, is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// Operating system, as Go calls it.
    pub os: String,
    /// Processor, as Go calls it.
    pub architecture: String,
    /// Variant of the processor.
    pub variant: String,
}

impl Platform {
    /// Whether it says neither system nor processor.
    pub fn is_empty(&self) -> bool {
        self.os.is_empty() && self.architecture.is_empty()
    }

    /// Reads an object that has these fields beside others, such as an image's configuration; `None` if it is no object.
    pub fn read(json: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(default, borrow)]
            os: Option<&'a RawValue>,
            #[serde(default, borrow)]
            architecture: Option<&'a RawValue>,
            #[serde(default, borrow)]
            variant: Option<&'a RawValue>,
        }
        // A list would be taken for the fields in their order.
        json.trim_ascii_start().strip_prefix('{')?;
        let fields: Fields<'_> = serde_json::from_str(json).ok()?;
        let text = |raw: Option<&RawValue>| {
            let text = raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
            text.unwrap_or_default()
        };
        Some(Self {
            os: text(fields.os),
            architecture: text(fields.architecture),
            variant: text(fields.variant),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

impl<'a> Descriptor<'a> {
    /// Reads one; the error says which field of it has not the form of a descriptor's.
    pub fn read(raw: &'a RawValue) -> Result<Self, FormatError> {
        let raw: Raw<'a> = serde_json::from_str(raw.get())
            .map_err(|e| FormatError::new(format!("it is no descriptor: {}", form(&e))))?;
        let digest = field(raw.digest, "digest")?;
        let media_type = field::<String>(raw.media_type, "mediaType")?;
        Ok(Self {
            media_type: media_type.filter(|text| !text.is_empty()),
            digest: digest.ok_or_else(|| FormatError::new("it has no digest".into()))?,
            size: field(raw.size, "size")?.unwrap_or_default(),
            urls: field(raw.urls, "urls")?.is_some_and(|Texts(any)| any),
            platform: raw.platform.filter(|raw| is_there(Some(raw))),
            annotations: raw.annotations.filter(|raw| is_there(Some(raw))),
            data: raw.data.filter(|raw| is_there(Some(raw))),
        })
    }
}

impl Descriptor<'_> {
    /// Whether nobody said how long the content is: what has no bytes has the digest of nothing.
    pub fn is_open(size: u64, digest: &Digest) -> bool {
        size == 0 && Digest::of(digest.algorithm(), b"") != *digest
    }

    /// Whether the content may be at another place than where its manifest is: its licence keeps it there (image-spec,
    /// layer.md, "Non-Distributable Layers"), or it says where else it can be had.
    pub fn may_be_elsewhere(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        let media_type = media_type.to_ascii_lowercase();
        self.urls || media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
    }

    /// What the image that it names runs on; `None` if it says nothing of that, or in a form that says nothing.
    pub fn platform(&self) -> Option<Platform> {
        Platform::read(self.platform?.get())
    }

    /// The manifest that this one attests, by an annotation of `BuildKit`'s.
    pub fn attests(&self) -> Option<Digest> {
        #[derive(Deserialize)]
        struct One<'a> {
            #[serde(rename = "vnd.docker.reference.digest", default, borrow)]
            attested: Option<&'a RawValue>,
        }
        let one: One<'_> = serde_json::from_str(self.annotations?.get()).ok()?;
        let text: String = serde_json::from_str(one.attested?.get()).ok()?;
        text.parse().ok()
    }

    /// Its content, if that stands in the descriptor itself (image-spec, descriptor.md, "data") and is what it should be.
    pub fn inline(&self) -> Option<Vec<u8>> {
        let text: String = serde_json::from_str(self.data?.get()).ok()?;
        let bytes = BASE64_STANDARD.decode(text.trim()).ok()?;
        let digest: Digest = self.digest.parse().ok()?;
        let size = u64::try_from(self.size).ok()?;
        let is_long = size == bytes.len() as u64 || Self::is_open(size, &digest);
        let is_it = is_long && Digest::of(digest.algorithm(), &bytes) == digest;
        is_it.then_some(bytes)
    }

    /// Whether its content may stand in it.
    pub fn has_data(&self) -> bool {
        self.data.is_some()
    }
}

/// Whether a list of texts has any; null is none. Of no size in memory.
struct Texts(bool);

/// A list of descriptors, or which of them has not the form of one, and why.
struct List<'a>(Result<Vec<Descriptor<'a>>, FormatError>);

/// One of a list of texts, of no size in memory: whether it is one, or null.
struct Text(bool);

/// A descriptor, if there is one.
pub(super) fn one<'a>(
    raw: Option<&'a RawValue>,
    name: &str,
) -> Result<Option<Descriptor<'a>>, FormatError> {
    let read = raw.filter(|raw| is_there(Some(raw))).map(Descriptor::read);
    read.transpose()
        .map_err(|e| FormatError::new(format!("in {name}: {e}")))
}

/// A list of descriptors, if there is one.
pub(super) fn list<'a>(
    raw: Option<&'a RawValue>,
    name: &str,
) -> Result<Option<Vec<Descriptor<'a>>>, FormatError> {
    match field::<List<'a>>(raw, name)? {
        Some(List(Err(error))) => Err(FormatError::new(format!("in {name}{error}"))),
        Some(List(Ok(list))) => Ok(Some(list)),
        None => Ok(None),
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self(false))
    }
}

impl Visitor<'_> for Text {
    type Value = Self;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a text")
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self(true))
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Self(false))
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Self;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while let Some(Text(is_text)) = list.next_element()? {
            self.0 |= is_text;
        }
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Descriptors)
    }
}

struct Descriptors;

impl<'de> Visitor<'de> for Descriptors {
    type Value = List<'de>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of descriptors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<'de>, A::Error> {
        let mut found = Vec::new();
        while let Some(raw) = list.next_element::<&RawValue>()? {
            match Descriptor::read(raw) {
                Ok(descriptor) => found.push(descriptor),
                Err(error) => {
                    let error = FormatError::new(format!("[{}]: {error}", found.len()));
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(List(Err(error)));
                }
            }
        }
        Ok(List(Ok(found)))
    }
}
