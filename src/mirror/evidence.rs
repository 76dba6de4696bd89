//! What a run tells beside its success: what is attached to the image and could not be had, and what is odd.
//!
//! Only what was asked for must be whole. What is attached to it (signatures, attestations, other referrers) is left out
//! where it is broken, and named here. The texts hold no advice, and their number is bounded: an upstream could make many.

use super::{KeptTag, MirrorError, MirrorReport};
use crate::fetch::FetchErrorKind;
use crate::repo::{self, RepoErrorKind};
use crate::types::Digest;

/// So many of each are named; the rest is counted.
const NAMED: usize = 100;
/// Characters of one text that are kept: it may quote the other side.
const TEXT_MAX: usize = 400;

/// Something attached to the image that may be there and could not be had.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct MissingEvidence {
    /// The digest of the manifest that it is attached to.
    pub subject: String,
    /// What is missing: a digest, a tag, or a list.
    pub what: String,
    /// Why it could not be had.
    pub why: String,
}

/// What was noticed on the way.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub missing: Vec<MissingEvidence>,
    /// All that is missing, named or not.
    pub missing_count: u64,
    pub warnings: Vec<String>,
    /// Manifests whose referrers nobody could tell, and why; and how many they are.
    unlisted: Vec<(Digest, String)>,
    unlisted_count: u64,
}

impl Notes {
    /// Notes that `what`, attached to `subject`, could not be had.
    pub fn missing(&mut self, subject: &Digest, what: &str, why: &str) {
        self.missing_count += 1;
        if self.missing.len() < NAMED {
            self.missing.push(MissingEvidence {
                subject: subject.to_string(),
                what: cut(what),
                why: cut(why),
            });
        }
    }

    /// Notes that the registry does not tell what refers to `subject`, neither by its API nor by a tag.
    pub fn unlisted(&mut self, subject: &Digest, why: &str) {
        self.unlisted_count += 1;
        if self.unlisted.len() < NAMED {
            self.unlisted.push((*subject, cut(why)));
        }
    }

    /// Decides about those: a registry that keeps lists under tags has none where there is no tag, whatever its API says.
    pub fn settle(&mut self, keeps_tags: bool) {
        let unlisted = std::mem::take(&mut self.unlisted);
        let count = std::mem::take(&mut self.unlisted_count);
        if keeps_tags {
            return;
        }
        self.missing_count += count - unlisted.len() as u64;
        for (subject, why) in unlisted {
            self.missing(&subject, "the list of its referrers", &why);
        }
    }

    /// Notes what is odd and hinders nothing.
    pub fn warn(&mut self, text: &str) {
        if self.warnings.len() < NAMED {
            self.warnings.push(cut(text));
        }
    }

    /// Takes over all of `other`.
    pub fn join(&mut self, mut other: Self) {
        let room = NAMED.saturating_sub(self.missing.len());
        other.missing.truncate(room);
        self.missing.append(&mut other.missing);
        self.missing_count += other.missing_count;
        let room = NAMED.saturating_sub(self.unlisted.len());
        other.unlisted.truncate(room);
        self.unlisted.append(&mut other.unlisted);
        self.unlisted_count += other.unlisted_count;
        let room = NAMED.saturating_sub(self.warnings.len());
        other.warnings.truncate(room);
        self.warnings.append(&mut other.warnings);
    }
}

impl MirrorReport {
    /// Notes a tag that stays.
    pub(super) fn keeps(&mut self, kept: &repo::MovedTag) {
        self.kept_tags_count += 1;
        if self.kept_tags.len() < NAMED {
            self.kept_tags.push(KeptTag {
                tag: kept.tag.to_string(),
                here: kept.here.to_string(),
                upstream: kept.brought.to_string(),
            });
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why something could not be had, if that is the other side's doing; else the error, which ends the run whatever it was
/// about: a full disk, a stop, an image that is too much for the memory.
pub(super) fn reason(error: MirrorError) -> Result<String, MirrorError> {
    match error {
        MirrorError::Fetch(error) if error.kind() != FetchErrorKind::Usage => Ok(error.reason()),
        MirrorError::NotFound(why) | MirrorError::Verify(why) | MirrorError::Lacking(why, _) => {
            Ok(why)
        }
        MirrorError::Wrong(wrong) => Ok(wrong.to_string()),
        MirrorError::Repo(error) if error.kind() == RepoErrorKind::Digest => Ok(error.to_string()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Algorithm;

    #[test]
    fn notes_are_bounded_and_counted() {
        let subject = Digest::of(Algorithm::Sha256, b"s");
        let mut all = Notes::default();
        for _ in 0..3 {
            let mut some = Notes::default();
            for n in 0..80 {
                some.missing(&subject, &n.to_string(), &"x".repeat(5000));
                some.warn("odd");
            }
            all.join(some);
        }
        assert_eq!((all.missing.len(), all.missing_count), (NAMED, 240));
        assert_eq!(all.warnings.len(), NAMED);
        assert!(all.missing.iter().all(|m| m.why.len() < 500));
        for keeps_tags in [true, false] {
            let mut notes = Notes::default();
            for _ in 0..120 {
                notes.unlisted(&subject, "401");
            }
            notes.settle(keeps_tags);
            let want = if keeps_tags { (0, 0) } else { (NAMED, 120) };
            assert_eq!((notes.missing.len(), notes.missing_count), want);
        }
    }
}
