//! The fields of a manifest, read without unfolding what nobody asks for: a document of a few MiB may have more values than
//! memory should hold.

use crate::repo::format::{ANNOTATIONS_MAX, FormatError};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Nothing real is nested deeper, and what reads it later may be recursive.
const DEPTH_MAX: usize = 128;

/// A descriptor, as far as it is looked at (image-spec descriptor.md).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub media_type: Option<String>,
    pub digest: String,
    pub size: i64,
    #[serde(default)]
    pub urls: Vec<Text>,
}

/// A text that nobody reads, of no size in memory: only how many there are is kept.
pub(super) struct Text;

/// The fields of both kinds of manifest, each as its kind says.
#[derive(Default)]
pub(super) struct Body {
    pub schema_version: Option<u64>,
    pub artifact_type: Option<String>,
    pub config: Option<Descriptor>,
    pub layers: Option<Vec<Descriptor>>,
    pub manifests: Option<Vec<Descriptor>>,
    pub blobs: Option<Vec<Descriptor>>,
    pub subject: Option<Descriptor>,
    /// As a referrers list needs them: `None` if they are long, or without a subject.
    pub annotations: Option<Vec<(String, String)>>,
}

/// The same fields as they came. Of one that comes twice the last counts, as for every client.
#[derive(Default)]
pub(super) struct Document<'a> {
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

    /// Its own media type, if that is text.
    pub fn media_type(&self) -> Option<String> {
        field(self.media_type, "mediaType").ok().flatten()
    }

    /// Whether it has a field `manifests`, whatever is in it.
    pub fn has_manifests(&self) -> bool {
        self.manifests.is_some()
    }

    /// Whether it has a field `config`, whatever is in it.
    pub fn has_config(&self) -> bool {
        self.config.is_some()
    }

    /// All fields, or which of them has not the form of an OCI manifest.
    pub fn body(&self) -> Result<Body, FormatError> {
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
            artifact_type: field(self.artifact_type, "artifactType")?,
            config: field(self.config, "config")?,
            layers: field(self.layers, "layers")?,
            manifests: field(self.manifests, "manifests")?,
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
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|e| wrong(name, &e))
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
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_text() {
        for (json, deep) in [
            ("{}", 1),
            (r#"{"a":[{}],"b":"[[[[\"[[[["}"#, 3),
            ("1", 0),
            (r#"["\\",[]]"#, 2),
        ] {
            assert_eq!(depth(json.as_bytes()), deep, "{json}");
        }
        let nested = |n: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(Document::read(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert!(Document::read(nested(DEPTH_MAX).as_bytes()).is_err());
    }

    #[test]
    fn what_is_not_asked_for_must_be_json_all_the_same() {
        for bad in [
            &b"{\"x\":tru}"[..],
            b"{\"x\":\"\xff\"}",
            b"{\"x\":1,}",
            b"{\"x\":[1}",
            b"{} {}",
            b"{\"layers\":[}",
        ] {
            let text = String::from_utf8_lossy(bad);
            let error = Document::read(bad).err().expect(&text).to_string();
            assert!(error.contains("not JSON"), "{text}: {error}");
        }
    }

    #[test]
    fn annotations_are_kept_for_a_referrer_unless_they_are_long() {
        let subject = format!(
            r#","subject":{{"digest":"sha256:{}","size":2}}"#,
            "a".repeat(64)
        );
        let text = |len: usize| format!(r#"{{"b":"2","a":"{}"}}"#, "x".repeat(len));
        let read = |annotations: &str, subject: &str| {
            let json = format!(r#"{{"annotations":{annotations}{subject}}}"#);
            let document = Document::read(json.as_bytes()).expect("JSON");
            let all = document.annotations_as_they_came();
            document.body().map(|body| (body.annotations, all))
        };
        // Two pairs cost 8 bytes each beside their keys and the value "2".
        let full = ANNOTATIONS_MAX - 2 * 8 - 3;
        for (len, subject, kept) in [
            (3, subject.as_str(), true),
            (full, &subject, true),
            (full + 1, &subject, false),
            (3, "", false),
        ] {
            let want = vec![
                ("a".to_owned(), "x".repeat(len)),
                ("b".to_owned(), "2".to_owned()),
            ];
            let (got, all) = read(&text(len), subject).expect("well formed");
            assert_eq!(got, kept.then(|| want.clone()), "{len} {subject}");
            assert_eq!(all.expect("there").get(), text(len));
        }
        let (none, all) = read("null", &subject).expect("none");
        assert!(none == Some(Vec::new()) && all.is_none());
        let twice = format!(r#"{{"a":"{0}","a":"{0}"}}"#, "x".repeat(full * 2 / 3));
        let (once, _) = read(&twice, &subject).expect("well formed");
        assert_eq!(once.expect("not long").len(), 1);
        for bad in ["[]", "1", r#"{"a":1}"#, r#"{"a":null}"#] {
            for subject in ["", &subject] {
                let error = read(bad, subject).expect_err(bad).to_string();
                assert!(error.contains("annotations"), "{bad}: {error}");
            }
        }
    }

    #[test]
    fn the_last_of_two_counts_and_names_may_be_escaped() {
        let json = br#"{"schemaVersion":1,"schema\u0056ersion":2,"config":null}"#;
        let document = Document::read(json).expect("JSON");
        assert!(document.has_config() && !document.has_manifests());
        let body = document.body().expect("well formed");
        assert_eq!(body.schema_version, Some(2));
        assert!(body.config.is_none());
    }
}
