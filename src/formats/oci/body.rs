//! The fields of a manifest, read without unfolding what nobody asks for: a document of a few MiB may have more values than
//! memory should hold.
//!
//! The one reader for what is pushed and what is mirrored. A field that is null, or a text that is empty, is as good as not
//! there: that is how several languages write what they do not have.

mod descriptor;

pub use descriptor::{Descriptor, Platform};

use crate::repo::format::{ANNOTATIONS_MAX, FormatError};
use descriptor::{list, one};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Nothing real is nested deeper, and what reads it later may be recursive.
const DEPTH_MAX: usize = 128;

/// The fields of both kinds of manifest, each as its kind says.
#[derive(Debug, Default)]
pub struct ManifestFields<'a> {
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
pub struct RawManifest<'a> {
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

impl<'a> RawManifest<'a> {
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
    pub fn body(&self) -> Result<ManifestFields<'a>, FormatError> {
        field::<String>(self.media_type, "mediaType")?;
        let subject = one(self.subject, "subject")?;
        let most = if subject.is_some() {
            ANNOTATIONS_MAX
        } else {
            0
        };
        let annotations = self.annotations(most)?.filter(|_| subject.is_some());
        Ok(ManifestFields {
            schema_version: field(self.schema_version, "schemaVersion")?,
            artifact_type: field::<String>(self.artifact_type, "artifactType")?
                .filter(|text| !text.is_empty()),
            config: one(self.config, "config")?,
            layers: list(self.layers, "layers")?,
            // The list of an index with nothing in it.
            manifests: list(self.manifests, "manifests")?
                .or_else(|| self.has_manifests().then(Vec::new)),
            blobs: list(self.blobs, "blobs")?,
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
        let kept = Pairs { most }.deserialize(&mut from);
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
    FormatError::new(format!("its {name} has the wrong form: {}", form(why)))
}

/// What the parser says, without the place, which is one within a part.
fn form(why: &serde_json::Error) -> String {
    let text = why.to_string();
    let place = format!(" at line {} column {}", why.line(), why.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// Reads an object of texts; keeps them as long as they are not too long.
struct Pairs {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = Option<BTreeMap<String, String>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Option<BTreeMap<String, String>>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut kept, mut len) = (Some(BTreeMap::new()), 0);
        while let Some((key, value)) = map.next_entry::<String, Option<String>>()? {
            let Some(texts) = &mut kept else { continue };
            let Some(value) = value else {
                // Null is as good as not there.
                let before = texts.remove(&key);
                len -= before.map_or(0, |before: String| key.len() + 8 + before.len());
                continue;
            };
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

impl<'de> Deserialize<'de> for RawManifest<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = RawManifest<'de>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawManifest<'de>, A::Error> {
        let mut found = RawManifest::default();
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

type Slot = for<'a, 'b> fn(&'b mut RawManifest<'a>) -> &'b mut Option<&'a RawValue>;

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
