//! Platforms of an index (image-spec, image-index.md) and the choice among them.

use super::MirrorError;
use super::document::{Descriptor, Platform};
use crate::types::Digest;
use std::collections::HashSet;

/// One wanted platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Parses `OS/ARCH[/VARIANT]` each.
pub(super) fn parse_all(texts: &[String]) -> Result<Vec<Wanted>, MirrorError> {
    texts.iter().map(|text| parse(text)).collect()
}

fn parse(text: &str) -> Result<Wanted, MirrorError> {
    let parts: Vec<&str> = text.split('/').collect();
    let good = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let (os, architecture, variant) = match parts.as_slice() {
        [os, arch] if good(os) && good(arch) => (*os, *arch, None),
        [os, arch, variant] if good(os) && good(arch) && good(variant) => {
            (*os, *arch, Some((*variant).to_owned()))
        }
        _ => {
            let text = format!(
                "\"{text}\" is no platform; write OS/ARCH or OS/ARCH/VARIANT, for example linux/amd64"
            );
            return Err(MirrorError::Usage(text));
        }
    };
    let architecture = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Ok(Wanted {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant,
    })
}

impl Wanted {
    fn matches(&self, platform: &Platform) -> bool {
        self.os == platform.os
            && self.architecture == platform.architecture
            && self
                .variant
                .as_ref()
                .is_none_or(|v| Some(v) == platform.variant.as_ref())
    }
}

/// The children of an index that are wanted: all without a wish, else those of the platforms, those without a platform
/// (nested indexes, artifacts) and the attestations of what is taken.
pub(super) fn choose<'a>(children: &'a [Descriptor], wanted: &[Wanted]) -> Vec<&'a Descriptor> {
    if wanted.is_empty() {
        return children.iter().collect();
    }
    let direct = |child: &Descriptor| {
        child
            .platform
            .as_ref()
            .is_none_or(|p| wanted.iter().any(|w| w.matches(p)))
    };
    let taken: HashSet<Digest> = children
        .iter()
        .filter(|c| direct(c))
        .filter_map(|c| c.digest().ok())
        .collect();
    let attests = |child: &Descriptor| child.attests().is_some_and(|d| taken.contains(&d));
    children
        .iter()
        .filter(|c| direct(c) || attests(c))
        .collect()
}

/// The platforms on offer, for a message.
pub(super) fn offered(children: &[Descriptor]) -> String {
    let mut names: Vec<String> = children
        .iter()
        .filter_map(|c| c.platform.as_ref())
        .map(ToString::to_string)
        .collect();
    names.retain(|name| name != "unknown/unknown");
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    fn digest(name: &str) -> String {
        Digest::of(Algorithm::Sha256, name.as_bytes()).to_string()
    }

    fn children() -> Vec<Descriptor> {
        serde_json::from_value(serde_json::json!([
            {"digest": digest("a"), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": digest("b"), "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"digest": digest("c"), "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
            {"digest": digest("d"), "size": 1, "platform": {"os": "unknown", "architecture": "unknown"},
             "annotations": {"vnd.docker.reference.digest": digest("b")}},
            {"digest": digest("e"), "size": 1}
        ]))
        .expect("valid")
    }

    fn chosen(platforms: &[&str]) -> String {
        let texts: Vec<String> = platforms.iter().map(|p| (*p).to_owned()).collect();
        let name = |c: &&Descriptor| {
            let digest = c.digest().expect("a digest").to_string();
            let mut names = ["a", "b", "c", "d", "e"].into_iter();
            names
                .find(|name| super::tests::digest(name) == digest)
                .expect("one of them")
        };
        choose(&children(), &parse_all(&texts).expect("valid"))
            .iter()
            .map(name)
            .collect()
    }

    #[test]
    fn choices() {
        assert_eq!(chosen(&[]), "abcde");
        assert_eq!(chosen(&["linux/amd64"]), "ae");
        assert_eq!(chosen(&["linux/x86_64"]), "ae");
        assert_eq!(chosen(&["linux/arm/v7"]), "bde");
        assert_eq!(chosen(&["linux/arm"]), "bcde");
        assert_eq!(chosen(&["linux/s390x"]), "e");
        assert_eq!(
            offered(&children()),
            "linux/amd64, linux/arm/v7, linux/arm/v6"
        );
        for bad in ["", "linux", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
