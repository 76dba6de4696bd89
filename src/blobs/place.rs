//! The name of a content file below DIR/blobs, and the name of an upload below DIR/uploads.

use super::BlobError;
use crate::types::{Algorithm, Digest, RepoId, UploadId};
use std::fmt;

/// Where a blob's bytes lie, relative to DIR/blobs: `sha256/ab/abcd....<id>`. A place is used once and never again, so a
/// reader that knows an old one gets the old bytes or none, and a removal that a crash cut short takes nothing else
/// along. So the id is fresh for each place: an upload's own would come again when a mirror fetches the same blob again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub String);

impl Place {
    /// The place of content of `digest` with this id.
    pub(super) fn of(digest: &Digest, id: UploadId) -> Self {
        let hex = digest.hex();
        Self(format!(
            "{}/{}/{hex}.{id}",
            digest.algorithm().name(),
            &hex[..2]
        ))
    }

    /// The place of a text of exactly the form that this module writes; `Damaged` if it is anything else, so that no
    /// stored text leads out of DIR/blobs.
    pub fn parse(text: &str) -> Result<Self, BlobError> {
        read(text)
            .map(|_| Self(text.to_owned()))
            .ok_or_else(|| BlobError::Damaged(text.to_owned()))
    }

    /// The digest that the name promises.
    pub fn digest(&self) -> Result<Digest, BlobError> {
        read(&self.0).ok_or_else(|| BlobError::Damaged(self.0.clone()))
    }
}

fn read(text: &str) -> Option<Digest> {
    let (algorithm, rest) = text.split_once('/')?;
    let (_, file) = rest.split_once('/')?;
    let (hex, id) = file.split_once('.')?;
    let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
    let id: UploadId = id.parse().ok()?;
    // The one spelling: what parses is what would be written, which covers "..", "//" and a wrong folder.
    (Place::of(&digest, id).0 == text).then_some(digest)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who writes an upload's file. It is part of the file's name, so that neither is ever found for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A client of the upload API, or this program itself on the way to a blob.
    Session,
    /// A mirror run that brings a blob.
    Fill,
}

/// How the name of a fill's file ends.
const FILL: &str = ".fill";

/// The file name of an upload: `<32 hex id>.<repo id>.<algorithm>`, and `.fill` if it is a fill's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadName {
    /// Whose file it is.
    pub purpose: Purpose,
    /// The session or the fill; random, and never used for another.
    pub id: UploadId,
    /// The repository that it was begun for; 0 for none.
    pub repo: RepoId,
    /// The algorithm that it is hashed with while it arrives.
    pub algorithm: Algorithm,
}

impl UploadName {
    /// The file of a session.
    pub fn session(id: UploadId, repo: RepoId, algorithm: Algorithm) -> Self {
        let purpose = Purpose::Session;
        Self {
            purpose,
            id,
            repo,
            algorithm,
        }
    }

    /// The file of a fill.
    pub fn fill(id: UploadId, repo: RepoId, algorithm: Algorithm) -> Self {
        let purpose = Purpose::Fill;
        Self {
            purpose,
            id,
            repo,
            algorithm,
        }
    }

    /// The name of a file that this module made; `None` for a stranger's file.
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, make): (_, fn(_, _, _) -> _) = match text.strip_suffix(FILL) {
            Some(stem) => (stem, Self::fill),
            None => (text, Self::session),
        };
        let mut parts = stem.splitn(3, '.');
        let name = make(
            parts.next()?.parse().ok()?,
            RepoId(parts.next()?.parse().ok()?),
            parts.next()?.parse().ok()?,
        );
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for UploadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match self.purpose {
            Purpose::Session => "",
            Purpose::Fill => FILL,
        };
        let algorithm = self.algorithm.name();
        write!(f, "{}.{}.{algorithm}{ending}", self.id, self.repo.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_one_spelling() {
        let id = UploadId([0xab; 16]);
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"x");
            let place = Place::of(&digest, id);
            assert_eq!(Place::parse(&place.0).ok(), Some(place.clone()));
            assert_eq!(place.digest().ok(), Some(digest));
            let text = place.0;
            let folder = format!("{}/{}/", algorithm.name(), &digest.hex()[..2]);
            let file = text.strip_prefix(&folder).expect("its folder");
            for bad in [
                String::new(),
                format!("/{text}"),
                format!("../{text}"),
                format!("{}/00/{file}", algorithm.name()),
                format!("{folder}../{file}"),
                format!("{folder}/{file}"),
                text.to_uppercase(),
                format!("{text}/.."),
                text.replace('.', ""),
            ] {
                assert!(Place::parse(&bad).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn upload_names() {
        let parts = (UploadId([7; 16]), RepoId(42), Algorithm::Sha512);
        let fill = UploadName::fill(parts.0, parts.1, parts.2);
        let name = UploadName::session(parts.0, parts.1, parts.2);
        let text = name.to_string();
        assert_eq!(fill.to_string(), format!("{text}.fill"));
        for name in [name, fill] {
            assert_eq!(UploadName::parse(&name.to_string()), Some(name));
        }
        for bad in [
            "",
            "x",
            ".1.sha256",
            &text.replace("42", "+42"),
            &text.replace("42", "042"),
            &format!("{text}.x"),
            &format!("{text}.fill.fill"),
            &format!("{text}fill"),
        ] {
            assert_eq!(UploadName::parse(bad), None, "{bad}");
        }
    }
}
