//! Titles of snapshots, and what else may stand where one does.

use super::moment;
use crate::types::{RepoName, Rev};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The text is no title of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// Not one component of a name.
    #[error(
        "\"{0}\" is no title of a snapshot: lower-case letters and digits, joined by single . _ __ or dashes, at most 100 characters"
    )]
    Component(String),
    /// It means a revision or a time.
    #[error(
        "\"{0}\" cannot be the title of a snapshot, because it means a revision (g and a number) or a time; choose another"
    )]
    Taken(String),
}

/// The title of a snapshot: one component of a name, in lower case, at most 100 bytes; neither `gNUMBER` nor a time as `at/`
/// reads it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Title(Arc<str>);

impl Title {
    /// The longest title in bytes.
    pub const MAX: usize = 100;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text is one component that may stand where a title does.
    pub fn is_component(text: &str) -> bool {
        text.len() <= Self::MAX && !text.contains('/') && text.parse::<RepoName>().is_ok()
    }

    /// The revision that `gNUMBER` means.
    pub fn revision(text: &str) -> Option<Rev> {
        let digits = text.strip_prefix('g')?;
        let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        all.then(|| digits.parse().ok()).flatten().map(Rev)
    }
}

impl FromStr for Title {
    type Err = TitleError;

    fn from_str(text: &str) -> Result<Self, TitleError> {
        let quoted = || text.chars().take(100).collect();
        if !Self::is_component(text) {
            return Err(TitleError::Component(quoted()));
        }
        let digits = text.strip_prefix('g').unwrap_or_default();
        let is_revision = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if is_revision || moment::parse(text).is_some() {
            return Err(TitleError::Taken(quoted()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::types::as_text!(Title, "Title", "The title of a snapshot.", "june");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles() {
        for good in [
            "2026-11-29",
            "2026-11-29-2",
            "june",
            "v1.0",
            "g",
            "g1a",
            "2026",
            &"x".repeat(100),
        ] {
            assert!(good.parse::<Title>().is_ok(), "{good}");
        }
        for bad in ["", "a/b", "June", "a b", "-a", &"x".repeat(101)] {
            assert!(
                matches!(bad.parse::<Title>(), Err(TitleError::Component(_))),
                "{bad}"
            );
        }
        for bad in [
            "g1",
            "g99999999999999999999999",
            "20261129",
            "20261101t120000z",
        ] {
            assert!(
                matches!(bad.parse::<Title>(), Err(TitleError::Taken(_))),
                "{bad}"
            );
        }
        assert_eq!(Title::revision("g12"), Some(Rev(12)));
        for other in ["12", "g", "g1x", "june"] {
            assert_eq!(Title::revision(other), None, "{other}");
        }
    }
}
