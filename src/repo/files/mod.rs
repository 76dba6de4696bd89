//! Files at paths: the items of repositories of kind `file`.
//!
//! Owns what such a repository takes and shows: names, conditions of a change, folders. Must not know HTTP, nor what a file is
//! of: formats that serve trees stand above.

mod edit;
mod folder;
mod put;
mod read;
pub(in crate::repo) mod rules;

pub use folder::{FolderEntry, FolderPage};
pub use put::{PartDone, PartRange};
pub use read::FileView;
pub(super) use read::{KnownFiles, known};

use super::error::RepoError;
use crate::types::{Digest, FilePath};

/// When a change of a file is wanted (RFC 9110 section 13.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum When {
    /// Whatever is there.
    #[default]
    Always,
    /// If nothing is there.
    Absent,
    /// If something is there.
    Present,
    /// If the file is one of these.
    Is(Vec<Digest>),
    /// If the file is none of these; also where nothing is.
    IsNot(Vec<Digest>),
}

impl When {
    /// Refuses a change of what is there.
    fn check(&self, path: &FilePath, is: Option<&Digest>) -> Result<(), RepoError> {
        let holds = match self {
            Self::Always => true,
            Self::Absent => is.is_none(),
            Self::Present => is.is_some(),
            Self::Is(any) => is.is_some_and(|is| any.contains(is)),
            Self::IsNot(none) => is.is_none_or(|is| !none.contains(is)),
        };
        if holds {
            return Ok(());
        }
        Err(RepoError::Precondition {
            path: path.to_string(),
            is_there: is.is_some(),
        })
    }
}

/// A file on its way in.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Where it is to be.
    pub path: FilePath,
    /// When it is to be taken.
    pub when: When,
    /// Its digest, if that is known: other bytes are refused.
    pub digest: Option<Digest>,
    /// Who brings it; empty for anonymous.
    pub who: String,
    /// For whom its upload counts, by a word of the caller's.
    pub owner: String,
}

/// A file that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filed {
    /// Its digest.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// When it came (wall clock, ms).
    pub modified_ms: u64,
    /// Nothing was there before.
    pub is_new: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    #[test]
    fn conditions() {
        let path: FilePath = "a".parse().expect("a path");
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::of(Algorithm::Sha256, bytes));
        for (when, none, is_a) in [
            (When::Always, true, true),
            (When::Absent, true, false),
            (When::Present, false, true),
            (When::Is(vec![b, a]), false, true),
            (When::Is(vec![b]), false, false),
            (When::IsNot(vec![a]), true, false),
            (When::IsNot(vec![b]), true, true),
        ] {
            assert_eq!(when.check(&path, None).is_ok(), none, "{when:?}");
            assert_eq!(when.check(&path, Some(&a)).is_ok(), is_a, "{when:?}");
        }
    }
}
