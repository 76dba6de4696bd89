//! Repository names, tags and references (distribution-spec, "Pulling manifests").

use crate::types::{Digest, DigestError};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is no name, tag or reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repository name.
    #[error(
        "\"{0}\" is not a repository name: lower-case letters and digits, parts joined by single . _ __ or dashes, components by /, at most 255 characters"
    )]
    Repo(String),
    /// Not a tag.
    #[error("\"{0}\" is not a tag: up to 128 letters, digits, _ . -, not starting with . or -")]
    Tag(String),
    /// Neither tag nor digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A repository name of any depth, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName(Arc<str>);

impl RepoName {
    /// The longest name in bytes.
    pub const MAX: usize = 255;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `prefix` or lies under it at a `/` boundary; the empty prefix holds every name.
    pub fn is_under(&self, prefix: &str) -> bool {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        prefix.is_empty()
            || self
                .0
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// One component: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(|b| alnum(*b)) || !bytes.last().is_some_and(|b| alnum(*b)) {
        return false;
    }
    bytes.split(|b| alnum(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= Self::MAX && text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Repo(clip(text)))
        }
    }
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Longest tag in bytes.
    pub const MAX: usize = 128;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let bytes = text.as_bytes();
        let good = bytes.len() <= Self::MAX
            && bytes.first().is_some_and(|b| word(*b))
            && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'));
        if good {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Tag(clip(text)))
        }
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By tag: what the tag means now.
    Tag(Tag),
    /// By digest: always the same bytes.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

macro_rules! text {
    ($($name:ident),*) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )* };
}
text!(RepoName, Tag);

crate::types::as_text!(
    RepoName,
    "RepoName",
    "The name of a repository.",
    "team/app"
);

crate::types::as_text!(Tag, "Tag", "A tag.", "1.0");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repository_names() {
        for good in [
            "a",
            "a/b",
            "bench/blobs/manifests",
            "a__b",
            "a-----b",
            "quay.io/x",
            "0/1.2_3",
            "tags",
        ] {
            assert!(good.parse::<RepoName>().is_ok(), "{good}");
        }
        for bad in [
            "", "/a", "a/", "a//b", "A", "a___b", ".a", "a.", "a..b", "a.-b", "a/../b", "a b", "-a",
        ] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad}");
        }
        assert!("a".repeat(255).parse::<RepoName>().is_ok());
        assert!("a".repeat(256).parse::<RepoName>().is_err());
    }

    #[test]
    fn prefixes_end_at_a_slash() {
        let name: RepoName = "team/app".parse().expect("valid");
        for holds in ["", "team", "team/", "team/app"] {
            assert!(name.is_under(holds), "{holds}");
        }
        for not in ["te", "team/a", "teammate", "team/app/x"] {
            assert!(!name.is_under(not), "{not}");
        }
    }

    #[test]
    fn tags() {
        for good in ["latest", "v1.2.3-rc_1", "_x", "A", &"x".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "a/b", "a:b", "ä", &"x".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_reads_back(text in "[a-zA-Z0-9._/-]{0,40}") {
            if let Ok(name) = text.parse::<RepoName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(!text.contains(".."));
            }
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.as_str(), &text);
            }
        }
    }
}
