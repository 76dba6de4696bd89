//! OCI and docker manifests (image-spec manifest.md and image-index.md; docker's schema 2): what they name.
//!
//! Only reads. Bytes and media type are kept as they came by whoever asked.

pub mod body;

use crate::repo::format::{Child, Format, FormatError, Inspected, Said};
use crate::types::{Digest, MediaType};
use body::{Descriptor, ManifestFields, RawManifest};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A manifest names at most this many digests: one transaction writes a row for each.
const DIGESTS_MAX: usize = 4000;

/// The field of an image that is one descriptor.
const CONFIG: &str = "config";
/// The field of an index that lists manifests.
const MANIFESTS: &str = "manifests";

/// The format of container images and other OCI artifacts.
pub struct Oci;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Image,
    Index,
    Other,
}

impl Format for Oci {
    fn inspect(
        &self,
        bytes: &[u8],
        declared: Option<&MediaType>,
    ) -> Result<Inspected, FormatError> {
        let document = RawManifest::read(bytes)?;
        let media_type = media_type(&document, declared)?;
        let shape = shape(&media_type);
        let body = fields(&document, &media_type)?;
        check(&body, shape, &media_type)?;
        let children = children(&body, shape)?;
        let subject = body
            .subject
            .as_ref()
            .map(|s| digest(&s.digest, || "subject".to_owned()))
            .transpose()?;
        let artifact_type = body.artifact_type.clone().or_else(|| {
            let config = body.config.as_ref().filter(|_| shape != Shape::Index);
            config.and_then(|c| c.media_type.clone())
        });
        let artifact_type = artifact_type
            .filter(|t| t.len() <= 255 && !t.contains('\0'))
            .unwrap_or_default();
        Ok(Inspected {
            media_type,
            children,
            subject,
            artifact_type,
            annotations: body.annotations,
        })
    }

    fn annotations(&self, bytes: &[u8]) -> Option<Box<RawValue>> {
        RawManifest::read(bytes).ok()?.annotations_as_they_came()
    }
}

/// The fields of a manifest of this type.
pub fn fields<'a>(
    document: &RawManifest<'a>,
    media_type: &MediaType,
) -> Result<ManifestFields<'a>, FormatError> {
    match document.body() {
        Ok(body) => Ok(body),
        // A type of somebody else's may use these names in its own way: keep the bytes, follow nothing.
        Err(_) if shape(media_type) == Shape::Other => Ok(ManifestFields::default()),
        Err(e) => Err(e),
    }
}

fn shape(media_type: &MediaType) -> Shape {
    match media_type.as_str() {
        MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST => Shape::Image,
        MediaType::OCI_INDEX | MediaType::DOCKER_LIST => Shape::Index,
        _ => Shape::Other,
    }
}

/// The type it was pushed with; its own field must agree, but for upper and lower case. Without either, what its fields tell.
fn media_type(
    document: &RawManifest<'_>,
    declared: Option<&MediaType>,
) -> Result<MediaType, FormatError> {
    // Parameters, such as a charset, are no part of the type.
    let inner = document.media_type();
    let inner = inner.map(|text| match text.split_once(';') {
        Some((essence, _)) => essence.trim().to_owned(),
        None => text,
    });
    let bad = |e: crate::types::MediaTypeError| FormatError::new(e.to_string());
    let is_generic = |d: &MediaType| {
        let generic = ["application/json", "application/octet-stream"];
        generic.iter().any(|g| g.eq_ignore_ascii_case(d.as_str()))
    };
    let declared = declared.filter(|d| !is_generic(d));
    let media_type = match (declared, inner.as_deref()) {
        (Some(declared), Some(inner)) if !declared.as_str().eq_ignore_ascii_case(inner) => {
            return Err(FormatError::new(format!(
                "it was pushed as {declared}, but its own mediaType is {inner}; they must be the same"
            )));
        }
        (Some(declared), _) => declared.clone(),
        (None, Some(inner)) => inner.parse().map_err(bad)?,
        (None, None) if document.has_manifests() => MediaType::OCI_INDEX.parse().map_err(bad)?,
        (None, None) if document.has_config() => MediaType::OCI_MANIFEST.parse().map_err(bad)?,
        (None, None) => {
            return Err(FormatError::new(
                "it has no media type; send it as Content-Type".into(),
            ));
        }
    };
    let media_type = media_type.lower();
    let text = media_type.as_str();
    if text.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        return Err(FormatError::new(
            "docker schema 1 is not taken; push it again with a docker of version 1.10 or later"
                .into(),
        ));
    }
    if text.starts_with("application/vnd.") && text.ends_with("+json") {
        Ok(media_type)
    } else {
        Err(FormatError::new(format!(
            "{text} is not a manifest type; those are application/vnd.*+json"
        )))
    }
}

fn check(
    body: &ManifestFields<'_>,
    shape: Shape,
    media_type: &MediaType,
) -> Result<(), FormatError> {
    if shape == Shape::Other {
        return Ok(());
    }
    if body.schema_version != Some(2) {
        return Err(FormatError::new("its schemaVersion is not 2".into()));
    }
    // A document that can be read as both kinds means different things to different clients (CVE-2021-41190).
    let image = body.config.is_some() || body.layers.is_some();
    if image && body.manifests.is_some() {
        return Err(FormatError::new(
            "it has the fields of an image and of an index; it must be one of them".into(),
        ));
    }
    match shape {
        Shape::Image if body.config.is_none() => {
            Err(FormatError::new(format!("a {media_type} needs a config")))
        }
        Shape::Index if body.manifests.is_none() => {
            Err(FormatError::new(format!("a {media_type} needs manifests")))
        }
        _ => Ok(()),
    }
}

fn children(body: &ManifestFields<'_>, shape: Shape) -> Result<Vec<Child>, FormatError> {
    let mut found: BTreeMap<Digest, Child> = BTreeMap::new();
    let lists = [
        (body.config.as_slice(), CONFIG),
        (body.layers.as_deref().unwrap_or_default(), "layers"),
        (body.blobs.as_deref().unwrap_or_default(), "blobs"),
        (body.manifests.as_deref().unwrap_or_default(), MANIFESTS),
    ];
    for (list, field) in lists {
        for (n, descriptor) in list.iter().enumerate() {
            match child(descriptor, field, n) {
                Ok(child) => {
                    let said = child.said;
                    let first = found.entry(child.digest).or_insert(child);
                    if said == Said::Manifest {
                        first.said = said;
                    }
                }
                Err(_) if shape == Shape::Other => {}
                Err(e) => return Err(e),
            }
            if found.len() > DIGESTS_MAX {
                return Err(FormatError::new(format!(
                    "it names more than {DIGESTS_MAX} digests, the most"
                )));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// What the descriptor names that is the `n`th of `field`.
fn child(descriptor: &Descriptor<'_>, field: &str, n: usize) -> Result<Child, FormatError> {
    let place = || match field {
        CONFIG => field.to_owned(),
        list => format!("{list}[{n}]"),
    };
    let size = u64::try_from(descriptor.size).map_err(|_| {
        FormatError::new(format!(
            "in {}: its size is negative: {}",
            place(),
            descriptor.size
        ))
    })?;
    let media_type = descriptor.media_type.clone().unwrap_or_default();
    Ok(Child {
        digest: digest(&descriptor.digest, place)?,
        size,
        is_listed: field == MANIFESTS,
        said: Said::of(&media_type, field == MANIFESTS),
        optional: descriptor.may_be_elsewhere(),
        media_type,
    })
}

fn digest(text: &str, place: impl Fn() -> String) -> Result<Digest, FormatError> {
    text.parse()
        .map_err(|e| FormatError::new(format!("in {}: {e}", place())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    fn read(body: &str, declared: &str) -> Result<Inspected, FormatError> {
        Oci.inspect(body.as_bytes(), declared.parse().ok().as_ref())
    }

    fn descriptor(of: &str, media_type: &str) -> String {
        let digest = Digest::of(Algorithm::Sha256, of.as_bytes());
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#,
            of.len()
        )
    }

    #[test]
    fn an_image_names_its_config_and_layers_once() {
        let (config, layer) = (
            descriptor("c", "application/x.config"),
            descriptor("l", "application/x.layer"),
        );
        let body = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{layer},{layer}],"subject":{layer},"annotations":{{"a":"b"}}}}"#
        );
        let got = read(&body, MediaType::OCI_MANIFEST).expect("valid");
        assert_eq!(got.children.len(), 2);
        assert!(
            got.children
                .iter()
                .all(|c| c.said == Said::Blob && !c.optional)
        );
        assert_eq!(got.subject, Some(Digest::of(Algorithm::Sha256, b"l")));
        assert_eq!(got.artifact_type, "application/x.config");
        assert_eq!(
            got.annotations,
            Some(vec![("a".to_owned(), "b".to_owned())])
        );
    }

    #[test]
    fn an_index_names_manifests() {
        let body = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptor("m", MediaType::OCI_MANIFEST)
        );
        let got = read(&body, "").expect("valid");
        assert_eq!(got.media_type.as_str(), MediaType::OCI_INDEX);
        assert_eq!(got.children[0].said, Said::Manifest);
        assert_eq!(got.artifact_type, "");
    }

    #[test]
    fn foreign_layers_may_be_absent() {
        let layer = descriptor(
            "l",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        );
        let body = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{layer}]}}"#,
            descriptor("c", "a/b")
        );
        let got = read(&body, MediaType::DOCKER_MANIFEST).expect("valid");
        assert_eq!(got.children.iter().filter(|c| c.optional).count(), 1);
    }

    #[test]
    fn media_types_are_compared_without_case() {
        let config = descriptor("c", "a/b");
        let upper = "Application/VND.oci.image.manifest.v1+JSON";
        for (own, declared) in [
            (MediaType::OCI_MANIFEST, upper),
            (upper, MediaType::OCI_MANIFEST),
            (upper, ""),
            ("", upper),
            (
                "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
                upper,
            ),
            (
                "application/vnd.oci.image.manifest.v1+json ;charset=utf-8",
                "",
            ),
            (
                upper,
                "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            ),
            (upper, "Application/JSON"),
        ] {
            let body = format!(r#"{{"schemaVersion":2,"mediaType":"{own}","config":{config}}}"#);
            let got = read(&body, declared).expect(own);
            assert_eq!(
                got.media_type.as_str(),
                MediaType::OCI_MANIFEST,
                "{own} as {declared}"
            );
        }
        let layer = descriptor(
            "l",
            "application/vnd.OCI.image.layer.NonDistributable.v1.tar",
        );
        let body = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        let got = read(&body, MediaType::OCI_MANIFEST).expect("valid");
        assert_eq!(got.children.iter().filter(|c| c.optional).count(), 1);
    }

    #[test]
    fn an_index_of_nothing_may_say_null() {
        let got = read(
            r#"{"schemaVersion":2,"manifests":null}"#,
            MediaType::OCI_INDEX,
        );
        assert_eq!(got.expect("valid").children.len(), 0);
        let config = descriptor("c", "a/b");
        let image =
            format!(r#"{{"schemaVersion":2,"config":{config},"manifests":null,"layers":null}}"#);
        let got = read(&image, "").expect("valid");
        assert_eq!(got.media_type.as_str(), MediaType::OCI_MANIFEST);
    }

    #[test]
    fn refusals_say_why() {
        let config = descriptor("c", "a/b");
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"manifests":[]}}"#);
        for (body, declared, says) in [
            ("", MediaType::OCI_MANIFEST, "not JSON"),
            ("[]", MediaType::OCI_MANIFEST, "not a JSON object"),
            ("{}", "", "no media type"),
            ("{}", "text/plain", "not a manifest type"),
            ("{}", MediaType::OCI_MANIFEST, "schemaVersion"),
            (
                r#"{"schemaVersion":2}"#,
                MediaType::OCI_MANIFEST,
                "needs a config",
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"a/b"}"#,
                MediaType::OCI_MANIFEST,
                "must be the same",
            ),
            (&both, MediaType::OCI_INDEX, "one of them"),
            (
                "{}",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                "schema 1",
            ),
            (
                "{}",
                "application/vnd.docker.distribution.manifest.v1+json",
                "schema 1",
            ),
        ] {
            let error = read(body, declared).expect_err(body).to_string();
            assert!(error.contains(says), "{body} as {declared}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep, MediaType::OCI_MANIFEST).is_err());
    }

    #[test]
    fn a_manifest_names_so_many_digests_and_no_more() {
        let image = |layers: usize, of: &dyn Fn(usize) -> String| {
            let layers: Vec<_> = (0..layers).map(|n| descriptor(&of(n), "a/b")).collect();
            let (config, layers) = (descriptor("config", "a/b"), layers.join(","));
            let body = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#);
            read(&body, MediaType::OCI_MANIFEST)
        };
        let most = image(DIGESTS_MAX - 1, &|n| n.to_string()).expect("most");
        assert_eq!(most.children.len(), DIGESTS_MAX);
        let error = image(DIGESTS_MAX, &|n| n.to_string())
            .expect_err("more")
            .to_string();
        assert!(error.contains("more than 4000 digests"), "{error}");
        // The same one any number of times.
        let same = image(DIGESTS_MAX * 2, &|_| "one".into()).expect("two digests");
        assert_eq!(same.children.len(), 2);
    }

    #[test]
    fn what_has_urls_may_be_elsewhere() {
        let with = |urls: &str| {
            let layer = descriptor("layer", "a/b").replace('}', &format!(r#","urls":{urls}}}"#));
            let config = descriptor("config", "a/b");
            let body = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
            let inspected = read(&body, MediaType::OCI_MANIFEST)?;
            Ok::<_, FormatError>(inspected.children.iter().filter(|c| c.optional).count())
        };
        assert_eq!(with("[]").expect("none"), 0);
        assert_eq!(with(r#"["http://x/\u0041",""]"#).expect("two"), 1);
        assert!(with("[1]").is_err());
        assert!(with("\"http://x\"").is_err());
    }

    #[test]
    fn other_types_are_kept_and_followed_as_far_as_they_can_be() {
        let body = format!(r#"{{"config":{},"layers":"own"}}"#, descriptor("c", "a/b"));
        assert!(
            read(&body, "application/vnd.acme.thing.v1+json")
                .expect("kept")
                .children
                .is_empty()
        );
    }
}
