//! Kinds of repositories: what sort of items one has, checked once, where its name is resolved.

use std::fmt;
use std::str::FromStr;

/// What a repository holds. The codes stand in its row and never change.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Images and artifacts, by the registry protocol.
    Oci = 1,
    /// Files at paths.
    File = 2,
}

/// The text names no kind of repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no kind of repository; there are oci and file")]
pub struct KindError(String);

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Oci, Self::File];

    /// The kind of a stored code; none for one that this version does not know.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The code in the repository's row.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The word that people and scripts write.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::File => "file",
        }
    }

    /// Whether its items are served under paths (`/r/NAME/PATH`).
    pub const fn is_tree(self) -> bool {
        !matches!(self, Self::Oci)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let found = Self::ALL.into_iter().find(|kind| kind.word() == text);
        found.ok_or_else(|| KindError(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_codes_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.word().parse(), Ok(kind));
            assert_eq!(Kind::of(kind.code()), Some(kind));
        }
        assert_eq!(Kind::of(0), None);
        assert!("OCI".parse::<Kind>().is_err());
    }
}
