//! The fields of a manifest, read without unfolding what nobody asks for: a document of a few MiB may have more values than
//! memory should hold.
//!
//! The one reader for what is pushed and what is mirrored. A field that is null, or a text that is empty, is as good as not
//! there: that is how several languages write what they do not have.

use crate::repo::format::{ANNOTATIONS_MAX, FormatError};
use crate::types::Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Nothing real is nested deeper, and what reads it later may be recursive.
const DEPTH_MAX: usize = 128;

/// A descriptor (image-spec descriptor.md), as far as it is looked at. What only some ask for is read when they do.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor<'a> {
    /// As it came; `None` if it is empty.
    #[serde(default, deserialize_with = "text")]
    pub media_type: Option<String>,
    /// As it came; a push tells the person what is wrong with it.
    pub digest: String,
    /// Length in bytes, as claimed.
    pub size: i64,
    #[serde(default, deserialize_with = "some")]
    urls: bool,
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

impl Descriptor<'_> {
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
        let is_it = usize::try_from(self.size) == Ok(bytes.len())
            && Digest::of(digest.algorithm(), &bytes) == digest;
        is_it.then_some(bytes)
    }

    /// Whether its content may stand in it.
    pub fn has_data(&self) -> bool {
        self.data.is_some()
    }
}

/// A text, if it is one and is not empty.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()))
}

/// Whether a list of texts has any; null is none.
fn some<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let list = Option::<Vec<Text>>::deserialize(from)?;
    Ok(list.is_some_and(|list| !list.is_empty()))
}

/// A text that nobody reads, of no size in memory: only how many there are is kept.
struct Text;

/// The fields of both kinds of manifest, each as its kind says.
#[derive(Debug, Default)]
pub struct Body<'a> {
    /// 2 for everything of today.
    pub schema_version: Option<u64>,
    /// What sort of artifact it is.
    pub artifact_type: Option<String>,
    /// The configuration of an image.
    pub config: Option<Descriptor<'a>>,
    /// The layers of an image.
    pub layers: Option<Vec<Descriptor<'a>>>,
    /// The manifests of an index.
    pub manifests: Option<Vec<Descriptor<'a>>>,
    /// The blobs of the artifact manifest that OCI withdrew before 1.1.
    pub blobs: Option<Vec<Descriptor<'a>>>,
    /// The manifest that it refers to.
    pub subject: Option<Descriptor<'a>>,
    /// As a referrers list needs them: `None` if they are long, or without a subject.
    pub annotations: Option<Vec<(String, String)>>,
}

/// The same fields as they came. Of one that comes twice the last counts, as for every client.
#[derive(Debug, Default)]
pub struct Document<'a> {
    schema_version: Option<&'a RawValue>,
    media_type: Option<&'a RawValue>,
    artifact_type: Option<&'a RawValue>,
    config: Option<&'a RawValue>,
    layers: Option<&'a RawValue>,
    manifests: Option<&'a RawValue>,
    blobs: Option<&'a RawValue>,
    subject: Option<&'a RawValue>,
    annotations: Option<&'a RawValue>,
}

impl<'a> Document<'a> {
    /// Reads bytes that must be one JSON object.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let not_json = |e: &dyn fmt::Display| FormatError::new(format!("it is not JSON: {e}"));
        let text = std::str::from_utf8(bytes).map_err(|e| not_json(&e))?;
        if depth(bytes) > DEPTH_MAX {
            let why = format!("it is nested more than {DEPTH_MAX} deep");
            return Err(FormatError::new(why));
        }
        if text.trim_ascii_start().starts_with('{') {
            return serde_json::from_str(text).map_err(|e| not_json(&e));
        }
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Err(FormatError::new("it is not a JSON object".into())),
            Err(e) => Err(not_json(&e)),
        }
    }

    /// Its own media type, if that is text and not empty.
    pub fn media_type(&self) -> Option<String> {
        let text = field::<String>(self.media_type, "mediaType").ok().flatten();
        text.filter(|text| !text.is_empty())
    }

    /// Whether it looks like an index: it has `manifests`; null counts where nothing else says what it is.
    pub fn has_manifests(&self) -> bool {
        is_there(self.manifests) || (self.manifests.is_some() && !self.is_image())
    }

    /// Whether it looks like an image: it has a `config`.
    pub fn has_config(&self) -> bool {
        is_there(self.config)
    }

    fn is_image(&self) -> bool {
        is_there(self.config) || is_there(self.layers)
    }

    /// Its schema version, if it is a number.
    pub fn schema_version(&self) -> Option<u64> {
        field(self.schema_version, "schemaVersion").ok().flatten()
    }

    /// All fields, or which of them has not the form of an OCI manifest.
    pub fn body(&self) -> Result<Body<'a>, FormatError> {
        field::<String>(self.media_type, "mediaType")?;
        let subject = field(self.subject, "subject")?;
        let most = if subject.is_some() {
            ANNOTATIONS_MAX
        } else {
            0
        };
        let annotations = self.annotations(most)?.filter(|_| subject.is_some());
        Ok(Body {
            schema_version: field(self.schema_version, "schemaVersion")?,
            artifact_type: field::<String>(self.artifact_type, "artifactType")?
                .filter(|text| !text.is_empty()),
            config: field(self.config, "config")?,
            layers: field(self.layers, "layers")?,
            // The list of an index with nothing in it.
            manifests: field(self.manifests, "manifests")?
                .or_else(|| self.has_manifests().then(Vec::new)),
            blobs: field(self.blobs, "blobs")?,
            subject,
            annotations,
        })
    }

    /// Its annotations in the order of their keys, if all their keys and values and 8 bytes for each pair come to `most` bytes
    /// at most; none are kept in memory else.
    fn annotations(&self, most: usize) -> Result<Option<Vec<(String, String)>>, FormatError> {
        let Some(raw) = self.annotations.filter(|raw| raw.get() != "null") else {
            return Ok(Some(Vec::new()));
        };
        let mut from = serde_json::Deserializer::from_str(raw.get());
        let kept = Texts { most }.deserialize(&mut from);
        let kept = kept.map_err(|e| wrong("annotations", &e))?;
        Ok(kept.map(|kept| kept.into_iter().collect()))
    }

    /// Its annotations as the text that they are, if they have the form of annotations.
    pub fn annotations_as_they_came(&self) -> Option<Box<RawValue>> {
        self.annotations(0).ok()?;
        let raw = self.annotations.filter(|raw| raw.get() != "null");
        raw.map(ToOwned::to_owned)
    }
}

/// How deep arrays and objects are nested at most; of what is no JSON, at least as deep as a reader of it would get.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                most = most.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

fn field<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    name: &str,
) -> Result<Option<T>, FormatError> {
    let Some(raw) = raw.filter(|raw| is_there(Some(raw))) else {
        return Ok(None);
    };
    serde_json::from_str(raw.get())
        .map(Some)
        .map_err(|e| wrong(name, &e))
}

/// Whether there is a value, and not null.
fn is_there(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() != "null")
}

fn wrong(name: &str, why: &serde_json::Error) -> FormatError {
    FormatError::new(format!("its {name} has the wrong form: {why}"))
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Self)
    }
}

impl Visitor<'_> for Text {
    type Value = Self;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a text")
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}

/// Reads an object of texts; keeps them as long as they are not too long.
struct Texts {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Option<BTreeMap<String, String>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Option<BTreeMap<String, String>>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut kept, mut len) = (Some(BTreeMap::new()), 0);
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            let Some(texts) = &mut kept else { continue };
            let of_key = key.len() + 8;
            len += of_key + value.len();
            // Of a key that comes twice the last value counts.
            if let Some(before) = texts.insert(key, value) {
                len -= of_key + before.len();
            }
            kept = kept.filter(|_| len <= self.most);
        }
        Ok(kept)
    }
}

impl<'de> Deserialize<'de> for Document<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Document<'de>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document<'de>, A::Error> {
        let mut found = Document::default();
        while let Some(Key(slot)) = map.next_key()? {
            match slot {
                Some(slot) => *slot(&mut found) = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Where the value of a key goes; `None` if nobody asks for it.
struct Key(Option<Slot>);

type Slot = for<'a, 'b> fn(&'b mut Document<'a>) -> &'b mut Option<&'a RawValue>;

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_identifier(Keys)
    }
}

struct Keys;

impl Visitor<'_> for Keys {
    type Value = Key;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        let slot: Slot = match name {
            "schemaVersion" => |d| &mut d.schema_version,
            "mediaType" => |d| &mut d.media_type,
            "artifactType" => |d| &mut d.artifact_type,
            "config" => |d| &mut d.config,
            "layers" => |d| &mut d.layers,
            "manifests" => |d| &mut d.manifests,
            "blobs" => |d| &mut d.blobs,
            "subject" => |d| &mut d.subject,
            "annotations" => |d| &mut d.annotations,
            _ => return Ok(Key(None)),
        };
        Ok(Key(Some(slot)))
    }
}

#[cfg(test)]
mod tests;
