//! Platforms of an index (image-spec, image-index.md) and the choice among them, compared as containerd compares them:
//! a processor has several names, and its first variant is the one that nobody writes down.

use crate::mirror::MirrorError;
use crate::mirror::document::{Platform, SourceDescriptor};
use crate::types::{Digest, Remedy};
use std::collections::{BTreeSet, HashSet};
use std::fmt;

/// The platforms that were asked for; none is all.
#[derive(Debug, Clone, Default)]
pub(in crate::mirror) struct Choice {
    wanted: Vec<Wanted>,
    /// One that the image does not have is a warning.
    lenient: bool,
}

/// One of them: as it was typed, and what it means.
#[derive(Debug, Clone)]
struct Wanted {
    typed: String,
    meant: Platform,
}

/// What was met of the platforms that were asked for.
#[derive(Debug, Default)]
pub(in crate::mirror) struct Met {
    /// By their place among those asked for.
    wanted: HashSet<usize>,
    /// What the image has, for a message.
    offered: BTreeSet<String>,
}

impl Met {
    /// Notes what else was met.
    pub fn join(&mut self, other: Self) {
        self.wanted.extend(other.wanted);
        self.offered.extend(other.offered);
    }
}

/// So many platforms are named in a message.
const NAMED: usize = 40;

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .offered
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect();
        f.write_str(&names.join(", "))?;
        f.write_str(if self.offered.len() > NAMED {
            " ..."
        } else {
            ""
        })
    }
}

impl Choice {
    /// Parses `OS/ARCH[/VARIANT]` each.
    pub fn parse(texts: &[String], lenient: bool) -> Result<Self, MirrorError> {
        let wanted = texts
            .iter()
            .map(|text| parse(text))
            .collect::<Result<_, _>>()?;
        Ok(Self { wanted, lenient })
    }

    /// Whether everything was asked for.
    pub fn is_all(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The children of an index that are wanted: all without a wish, else those of the platforms, those without a platform
    /// (nested indexes, artifacts) and the attestations of what is taken.
    pub fn choose<'a>(&self, children: &'a [SourceDescriptor]) -> Vec<&'a SourceDescriptor> {
        if self.is_all() {
            return children.iter().collect();
        }
        let direct =
            |child: &SourceDescriptor| child.platform.as_ref().is_none_or(|p| self.wants(p));
        let taken: HashSet<Digest> = children
            .iter()
            .filter(|c| direct(c))
            .filter_map(|c| c.digest().ok())
            .collect();
        let attests = |child: &SourceDescriptor| child.attests.is_some_and(|d| taken.contains(&d));
        children
            .iter()
            .filter(|c| direct(c) || attests(c))
            .collect()
    }

    /// Whether an image of this platform was asked for.
    pub fn wants(&self, platform: &Platform) -> bool {
        let platform = normal(platform);
        self.is_all() || self.wanted.iter().any(|w| w.meant == platform)
    }

    /// What of these platforms was asked for.
    pub fn met<'a>(&self, platforms: impl Iterator<Item = &'a Platform>) -> Met {
        let mut met = Met::default();
        for platform in platforms {
            let meant = normal(platform);
            // How BuildKit calls what runs nowhere.
            if meant.os == "unknown" {
                continue;
            }
            let those = self.wanted.iter().enumerate();
            let those = those.filter(|(_, wanted)| wanted.meant == meant);
            met.wanted.extend(those.map(|(n, _)| n));
            met.offered.insert(platform.to_string());
        }
        met
    }

    /// Whether all that was asked for was met, as far as the image says what it runs on: what is missing is an error or,
    /// if that was allowed and something is there, a warning.
    pub fn judge(&self, met: &Met) -> Result<Option<String>, MirrorError> {
        let lacking = self.wanted.iter().enumerate();
        let lacking = lacking.filter(|(n, _)| !met.wanted.contains(n));
        let lacking: Vec<&str> = lacking.map(|(_, wanted)| wanted.typed.as_str()).collect();
        if lacking.is_empty() || met.offered.is_empty() {
            return Ok(None);
        }
        let text = format!(
            "this image has no {}; it has {met}",
            lacking.join(" and no ")
        );
        match (met.wanted.is_empty(), self.lenient) {
            (true, _) => Err(MirrorError::NotFound(text)),
            (false, true) => Ok(Some(text)),
            (false, false) => Err(MirrorError::Lacking(text, Remedy::LackPlatforms)),
        }
    }

    /// The same for an image that is no index and runs on this.
    pub fn judge_one(&self, platform: &Platform) -> Result<Option<String>, MirrorError> {
        if self.wants(platform) {
            return Ok(None);
        }
        let wanted: Vec<&str> = self.wanted.iter().map(|w| w.typed.as_str()).collect();
        let text = format!(
            "this image is for {platform} alone, not for {}",
            wanted.join(" or ")
        );
        if self.lenient {
            return Ok(Some(text));
        }
        Err(MirrorError::Lacking(text, Remedy::LackPlatforms))
    }
}

fn parse(text: &str) -> Result<Wanted, MirrorError> {
    let parts: Vec<&str> = text.split('/').collect();
    let good = |part: &&str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        !part.is_empty() && part.bytes().all(plain)
    };
    let (os, architecture, variant) = match parts.as_slice() {
        [os, arch] if parts.iter().all(good) => (*os, *arch, ""),
        [os, arch, variant] if parts.iter().all(good) => (*os, *arch, *variant),
        _ => {
            let text = format!(
                "\"{text}\" is no platform; write OS/ARCH or OS/ARCH/VARIANT, for example linux/amd64"
            );
            return Err(MirrorError::Usage(text));
        }
    };
    let meant = normal(&Platform {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
    });
    Ok(Wanted {
        typed: text.to_owned(),
        meant,
    })
}

/// The one spelling of a platform.
fn normal(platform: &Platform) -> Platform {
    let lower = |text: &str| text.trim().to_ascii_lowercase();
    let (os, arch) = (lower(&platform.os), lower(&platform.architecture));
    let variant = lower(&platform.variant);
    let os = match os.as_str() {
        "macos" => "darwin",
        other => other,
    };
    let (arch, variant) = match (arch.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1" | "1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    Platform {
        os: os.to_owned(),
        architecture: arch.to_owned(),
        variant: variant.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::document::Document;
    use crate::types::{Algorithm, MediaType};

    fn digest(name: &str) -> Digest {
        Digest::of(Algorithm::Sha256, name.as_bytes())
    }

    fn children() -> Vec<SourceDescriptor> {
        let of = |name: &str| digest(name).to_string();
        let index = serde_json::json!({"manifests": [
            {"digest": of("a"), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": of("b"), "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"digest": of("c"), "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
            {"digest": of("d"), "size": 1, "platform": {"os": "unknown", "architecture": "unknown"},
             "annotations": {"vnd.docker.reference.digest": of("b")}},
            {"digest": of("e"), "size": 1, "platform": {"os": "", "architecture": null}}
        ]});
        let index_type: MediaType = MediaType::OCI_INDEX.parse().expect("type");
        let bytes = index.to_string();
        let read = Document::parse(&digest("index"), &index_type, bytes.as_bytes());
        read.expect("valid").manifests.expect("an index")
    }

    fn choice(platforms: &[&str], lenient: bool) -> Choice {
        let texts: Vec<String> = platforms.iter().map(|p| (*p).to_owned()).collect();
        Choice::parse(&texts, lenient).expect("valid")
    }

    fn chosen(platforms: &[&str]) -> String {
        let name = |c: &&SourceDescriptor| {
            let of = c.digest().expect("a digest");
            let mut names = ["a", "b", "c", "d", "e"].into_iter();
            names.find(|name| digest(name) == of).expect("one of them")
        };
        choice(platforms, false)
            .choose(&children())
            .iter()
            .map(name)
            .collect()
    }

    #[test]
    fn choices() {
        assert_eq!(chosen(&[]), "abcde");
        assert_eq!(chosen(&["linux/amd64"]), "ae");
        assert_eq!(chosen(&["Linux/x86_64"]), "ae");
        assert_eq!(chosen(&["linux/arm/v7"]), "bde");
        assert_eq!(chosen(&["linux/arm"]), "bde");
        assert_eq!(chosen(&["linux/armel"]), "ce");
        assert_eq!(chosen(&["linux/s390x"]), "e");
        for bad in ["", "linux", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_one_platform() {
        let platform = |text: &str| {
            let parts: Vec<&str> = text.split('/').collect();
            Platform {
                os: parts[0].to_owned(),
                architecture: parts[1].to_owned(),
                variant: parts.get(2).map(ToString::to_string).unwrap_or_default(),
            }
        };
        for same in [
            &[
                "linux/arm64",
                "linux/arm64/v8",
                "linux/aarch64",
                "LINUX/ARM64/V8",
                "linux/arm64/8",
            ][..],
            &[
                "linux/amd64",
                "linux/amd64/v1",
                "linux/x86_64",
                "linux/x86-64",
                "Linux/AMD64",
            ],
            &["linux/arm", "linux/arm/v7", "linux/arm/7", "linux/armhf"],
            &["linux/arm/v6", "linux/arm/6", "linux/armel"],
            &["linux/386", "linux/i386"],
            &["darwin/arm64", "macos/aarch64"],
            &["linux/amd64/v2"],
            &["linux/amd64/v3"],
            &["linux/arm/v5"],
            &["linux/arm64/v9"],
            &["windows/amd64"],
        ] {
            for typed in same {
                let choice = choice(&[typed], false);
                for there in same {
                    assert!(choice.wants(&platform(there)), "{typed}: {there}");
                }
                for other in [
                    "linux/s390x",
                    "linux/arm/v8",
                    "plan9/amd64",
                    "linux/arm64/v8.2",
                ] {
                    assert!(!choice.wants(&platform(other)), "{typed}: {other}");
                }
            }
        }
        assert!(!choice(&["linux/amd64"], false).wants(&platform("linux/amd64/v2")));
        assert!(!choice(&["linux/arm"], false).wants(&platform("linux/arm/v6")));
    }

    #[test]
    fn what_is_not_there_is_told() {
        let children = children();
        let platforms = || children.iter().filter_map(|c| c.platform.as_ref());
        let judged = |wanted: &[&str], lenient| {
            let choice = choice(wanted, lenient);
            choice
                .judge(&choice.met(platforms()))
                .map_err(|e| e.to_string())
        };
        assert_eq!(judged(&[], false), Ok(None));
        assert_eq!(judged(&["linux/amd64", "linux/armhf"], false), Ok(None));
        let text = "this image has no linux/s390x; it has linux/amd64, linux/arm/v6, linux/arm/v7";
        let two = ["linux/amd64", "linux/s390x"];
        assert_eq!(judged(&two, false), Err(text.to_owned()));
        let remedy = |wanted: &[&str]| {
            let choice = choice(wanted, false);
            let error = choice.judge(&choice.met(platforms())).expect_err("lacks");
            error.remedy()
        };
        assert_eq!(remedy(&two), Some(Remedy::LackPlatforms));
        assert_eq!(remedy(&["linux/s390x"]), None);
        assert_eq!(judged(&two, true), Ok(Some(text.to_owned())));
        assert_eq!(judged(&["linux/s390x"], true), Err(text.to_owned()));
        // What says nothing of platforms has none.
        let choice = choice(&two, false);
        assert_eq!(
            choice.judge(&Met::default()).map_err(|e| e.to_string()),
            Ok(None)
        );
    }
}
