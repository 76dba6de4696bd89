//! Paths of files in a repository: checked once, where they enter.
//!
//! Owns the grammar of the names that people upload, and of folders. Mirrored paths keep the bytes of their upstream and do not
//! come through here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use unicode_normalization::is_nfc;

/// Why a text is no path of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, or a folder.
    #[error("a file needs a name: the path is empty or ends with /")]
    NoName,
    /// Too long.
    #[error("the path has {0} bytes; {max} are the most", max = FilePath::MAX)]
    Long(usize),
    /// `.`, `..` or an empty component.
    #[error("a path has no empty, . or .. component")]
    Component,
    /// A control character or a backslash.
    #[error("a path has no control character and no backslash")]
    Character,
    /// Not in Unicode's composed form.
    #[error(
        "the path is not in Unicode normalization form C, in which names are kept here; rename the file"
    )]
    Form,
}

/// The path of a file below its repository: components joined by `/`, at most 1,024 bytes, in Unicode normalization form C,
/// without control characters, backslashes, empty, `.` or `..` components. Case is kept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(Arc<str>);

impl FilePath {
    /// The longest path in bytes.
    pub const MAX: usize = 1024;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folders that hold it, the outermost first: of `a/b/c` these are `a` and `a/b`.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

impl FromStr for FilePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() || text.ends_with('/') {
            return Err(PathError::NoName);
        }
        check(text)?;
        Ok(Self(text.into()))
    }
}

fn check(text: &str) -> Result<(), PathError> {
    if text.len() > FilePath::MAX {
        return Err(PathError::Long(text.len()));
    }
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err(PathError::Character);
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(PathError::Component);
    }
    if is_nfc(text) {
        Ok(())
    } else {
        Err(PathError::Form)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A folder below a repository: the empty text for its root, else components, each followed by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Folder(Arc<str>);

impl Folder {
    /// The text with its last `/`; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Folder {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        match text.strip_suffix('/') {
            None if text.is_empty() => {}
            None => return Err(PathError::NoName),
            Some(path) => check(path)?,
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_of_files() {
        for good in [
            "a",
            "a/b.txt",
            "A b",
            "pool/main/g++_1.0~rc1.deb",
            "\u{e4}.txt",
            "...",
            "a/.hidden",
            &"x".repeat(1024),
        ] {
            assert_eq!(
                good.parse::<FilePath>().map(|p| p.to_string()).as_deref(),
                Ok(good)
            );
        }
        for (bad, why) in [
            ("", PathError::NoName),
            ("a/", PathError::NoName),
            ("/a", PathError::Component),
            ("a//b", PathError::Component),
            ("a/../b", PathError::Component),
            (".", PathError::Component),
            ("a\nb", PathError::Character),
            ("a\u{85}b", PathError::Character),
            ("a\\b", PathError::Character),
            ("a\u{308}", PathError::Form),
            (&"x".repeat(1025), PathError::Long(1025)),
        ] {
            assert_eq!(bad.parse::<FilePath>(), Err(why), "{bad:?}");
        }
        let path: FilePath = "a/b/c".parse().expect("a path");
        assert_eq!(path.folders().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(path.name(), "c");
    }

    #[test]
    fn folders() {
        for good in ["", "a/", "a/b/"] {
            assert_eq!(
                good.parse::<Folder>()
                    .map(|f| f.as_str().to_owned())
                    .as_deref(),
                Ok(good)
            );
        }
        for bad in ["a", "/", "a//", "../"] {
            assert!(bad.parse::<Folder>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_reads_back(text in "[a./\u{e4}\u{308}\\x00-\\x20]{0,12}") {
            if let Ok(path) = text.parse::<FilePath>() {
                prop_assert_eq!(path.as_str(), &text);
                prop_assert!(text.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
        }
    }
}
