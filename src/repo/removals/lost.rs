//! Content files that are gone while their rows say that they are here: who comes upon one marks its blob, as the scrub does
//! when it comes by. Then nobody counts on it, and who brings it heals it.
//!
//! Owns that look. Must not conclude anything from what cannot be looked at for now.

use crate::blobs::BlobError;
use crate::repo::Repos;
use crate::repo::check::{Verdict, content_of};
use crate::repo::error::RepoError;
use crate::types::Digest;

impl Repos {
    /// Looks at the content file of a blob, if it should have one. One that is gone, or of another length, is marked as
    /// damaged. Where its folder is gone, too, nothing is marked: a whole disk may be missing, and come back. Answers whether
    /// the blob is marked, so that whoever has its bytes is to bring them.
    pub(in crate::repo) async fn is_lost(&self, digest: &Digest) -> Result<bool, RepoError> {
        let wanted = *digest;
        let looked = self.hop(move |inner, r| {
            let Some(content) = content_of(r, &wanted)? else {
                return Ok(None);
            };
            let place = content.place.as_ref().filter(|_| !content.damaged);
            let is_lost =
                place.is_some_and(|place| inner.blobs.content.is_lost(place, content.size));
            Ok(Some((content, is_lost)))
        });
        let content = match looked.await? {
            None => return Ok(false),
            Some((content, false)) => return Ok(content.damaged),
            Some((content, true)) => content,
        };
        let marked = self.judge(&content, Verdict::Damaged).await?;
        if let Some(place) = content.place.filter(|_| marked) {
            let tags = self.touched_by(digest).await?.tags.join(", ");
            tracing::error!(%digest, file = %format_args!("blobs/{place}"), tags, "the content file of a blob is missing or has another length: the blob is not served until it is pushed or mirrored again; `dryport check --repair` fetches what it can");
        }
        Ok(marked)
    }

    /// What was read of a blob; `BlobUnknown` if its content file is found to be gone.
    pub(in crate::repo) async fn unless_lost<T>(
        &self,
        digest: &Digest,
        read: Result<T, RepoError>,
    ) -> Result<T, RepoError> {
        match read {
            Err(RepoError::Blob(BlobError::Damaged(_))) if self.is_lost(digest).await? => {
                Err(RepoError::BlobUnknown(*digest))
            }
            read => read,
        }
    }
}
