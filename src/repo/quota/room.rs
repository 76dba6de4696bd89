//! Room below quotas: what may come is asked for before it does, so that what is shown and what is on its way stay
//! together within every quota, however many clients come at once.
//!
//! An upload asks for the bytes that it announces, and for more before more are written; a manifest or a mount asks at its
//! commit. One asks at a time. An upload that is about to become a blob is for a moment among the uploads and among what
//! is shown; whoever would be refused for that moment alone waits for its end. A quota that shows a digest has room for
//! one upload of it at a time, which leaves nothing behind.

use super::uploads::Sum;
use super::{any, prefixes, quota};
use crate::blobs::UploadName;
use crate::repo::error::RepoError;
use crate::repo::{Repos, new_upload_id, rows};
use crate::store::{Get, Read};
use crate::types::{Digest, RepoName, UploadId};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// So long a moment may be, before somebody is refused for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What asks for room.
#[derive(Debug, Clone)]
enum Asked {
    /// An upload is to have so many bytes; those of this digest, if that is known.
    Upload { bytes: u64, digest: Option<Digest> },
    /// These are to be shown, each of so many bytes; `None`: as many as its blob has.
    Shown(Vec<(Digest, Option<u64>)>),
}

/// A quota that has a part in it, as it is in the store.
struct Limit {
    prefix: String,
    /// Bytes that may be shown, and that are.
    most: u64,
    used: u64,
    /// Bytes that it would take.
    needed: u64,
    /// The length of the digest, where the quota shows it.
    known: Option<u64>,
}

/// What came of a look.
enum Verdict {
    Fits,
    /// Not now; the error if it stays so.
    Wait(RepoError),
    Full(RepoError),
}

/// Room for a commit, given back when dropped.
pub(in crate::repo) struct Claim(Option<(Repos, UploadId)>);

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((repos, id)) = &self.0 {
            repos.0.uploads.end(*id);
        }
    }
}

impl Repos {
    /// Room for an upload that is to have so many bytes in all, of this digest if that is known. Whatever it gets it has
    /// until it is settled or ended.
    pub(in crate::repo) async fn upload_room(
        &self,
        name: &RepoName,
        id: UploadId,
        bytes: u64,
        digest: Option<&Digest>,
    ) -> Result<(), RepoError> {
        if self.0.is_unlimited() {
            self.0.uploads.raise(id, name.as_str(), bytes);
            return Ok(());
        }
        if self.0.uploads.of(id) >= bytes {
            return Ok(());
        }
        let digest = digest.copied();
        Box::pin(self.room(name, id, Asked::Upload { bytes, digest })).await
    }

    /// Room for what a commit is about to show, each digest with its length (`None`: that of its blob).
    pub(in crate::repo) async fn commit_room(
        &self,
        name: &RepoName,
        digests: Vec<(Digest, Option<u64>)>,
    ) -> Result<Claim, RepoError> {
        if self.0.is_unlimited() {
            return Ok(Claim(None));
        }
        let id = new_upload_id()?;
        let claim = Claim(Some((self.clone(), id)));
        Box::pin(self.room(name, id, Asked::Shown(digests))).await?;
        Ok(claim)
    }

    async fn room(&self, name: &RepoName, id: UploadId, asked: Asked) -> Result<(), RepoError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut fewer = pin!(self.0.uploads.fewer());
            fewer.as_mut().enable();
            match self.look(name, id, &asked).await? {
                Verdict::Fits => return Ok(()),
                Verdict::Full(error) => return Err(error),
                Verdict::Wait(error) => {
                    if timeout_at(until, fewer).await.is_err() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// One look, and the bytes taken if they fit.
    async fn look(
        &self,
        name: &RepoName,
        id: UploadId,
        asked: &Asked,
    ) -> Result<Verdict, RepoError> {
        let _turn = self.0.uploads.turn().await;
        // Before the store is read: bytes that are shown meanwhile count twice, never not at all.
        let others = self.0.uploads.others(id, name.as_str());
        let epoch = self.0.quotas_epoch();
        let (wanted, what) = (name.clone(), asked.clone());
        let limits = self.hop(move |inner, r| {
            if !any(r)? {
                inner.unlimited.found(epoch);
            }
            limits(r, &wanted, &what)
        });
        let limits = limits.await?;
        let mut spared = Vec::new();
        for limit in &limits {
            let others = others.get(limit.prefix.as_str()).copied();
            match limit.verdict(others.unwrap_or_default(), &mut spared) {
                Verdict::Fits => {}
                refused => return Ok(refused),
            }
        }
        let uploads = &self.0.uploads;
        match asked {
            Asked::Upload { bytes, .. } => uploads.add(id, name.as_str(), *bytes, spared),
            Asked::Shown(_) => {
                let most = limits.iter().map(|limit| limit.needed).max();
                if let Some(bytes) = most.filter(|bytes| *bytes > 0) {
                    uploads.add(id, name.as_str(), bytes, Vec::new());
                    uploads.ending(id);
                }
            }
        }
        Ok(Verdict::Fits)
    }

    /// What an upload has that came to no good end: the bytes in its file. Answers whether there are any.
    pub(in crate::repo) async fn settle_upload(
        &self,
        id: UploadId,
        repo: crate::types::RepoId,
        algorithm: crate::types::Algorithm,
    ) -> bool {
        let blobs = self.0.blobs.clone();
        let file = UploadName::session(id, repo, algorithm);
        let len = self.block(move || Ok(blobs.uploads.len_of(file)?));
        match len.await {
            Ok(0) => {
                self.0.uploads.end(id);
                false
            }
            Ok(len) => {
                self.0.uploads.settle(id, len);
                true
            }
            Err(error) => {
                tracing::debug!(upload = %id, %error, "what is left of an upload counts as if all of it were there");
                true
            }
        }
    }
}

/// The quotas above a name that are counted to their end.
fn limits(r: &Read<'_>, name: &RepoName, asked: &Asked) -> Result<Vec<Limit>, RepoError> {
    let mut limits = Vec::new();
    for prefix in prefixes(name.as_str()) {
        let Some(record) = quota(r, prefix)?.filter(|q| q.counted_to.is_none()) else {
            continue;
        };
        let (mut needed, mut known) = (0, None);
        match asked {
            Asked::Upload { bytes, digest } => {
                needed = *bytes;
                if let Some(digest) = digest
                    && is_shown(r, prefix, digest)?
                {
                    known = Some(rows::size(r, digest)?);
                }
            }
            Asked::Shown(digests) => {
                for (digest, size) in digests {
                    if !is_shown(r, prefix, digest)? {
                        needed += match size {
                            Some(size) => *size,
                            None => rows::size(r, digest)?,
                        };
                    }
                }
            }
        }
        limits.push(Limit {
            prefix: prefix.to_owned(),
            most: record.limit,
            used: record.used,
            needed,
            known,
        });
    }
    Ok(limits)
}

fn is_shown(get: &impl Get, prefix: &str, digest: &Digest) -> Result<bool, RepoError> {
    Ok(super::count::counts(get, prefix, digest)?.shown > 0)
}

impl Limit {
    /// Whether it fits beside the other uploads.
    fn verdict(&self, others: Sum, spared: &mut Vec<Box<str>>) -> Verdict {
        let left = self.most.saturating_sub(self.used);
        let free = left.saturating_sub(others.bytes);
        if self.needed <= free {
            return Verdict::Fits;
        }
        let error = RepoError::Quota {
            prefix: self.prefix.clone(),
            needed: self.needed,
            free,
            uploads: others.bytes,
        };
        match self.known {
            Some(size) if self.needed <= size && others.spared == 0 => {
                spared.push(self.prefix.as_str().into());
                return Verdict::Fits;
            }
            Some(size) if self.needed <= size => return Verdict::Wait(error),
            _ => {}
        }
        // Those about to end may be among what is shown by now: without them it might fit.
        let without = (self.most + others.ending).saturating_sub(self.used);
        if self.needed <= without.saturating_sub(others.bytes) {
            Verdict::Wait(error)
        } else {
            Verdict::Full(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(needed: u64, known: Option<u64>, others: Sum) -> (&'static str, usize) {
        let limit = Limit {
            prefix: "a".into(),
            most: 100,
            used: 60,
            needed,
            known,
        };
        let mut spared = Vec::new();
        let verdict = match limit.verdict(others, &mut spared) {
            Verdict::Fits => "fits",
            Verdict::Wait(_) => "wait",
            Verdict::Full(_) => "full",
        };
        (verdict, spared.len())
    }

    #[test]
    fn what_is_shown_and_what_is_on_its_way_stay_within_the_limit() {
        let sum = |bytes, ending, spared| Sum {
            bytes,
            ending,
            spared,
        };
        assert_eq!(ask(40, None, sum(0, 0, 0)), ("fits", 0));
        assert_eq!(ask(41, None, sum(0, 0, 0)), ("full", 0));
        assert_eq!(ask(30, None, sum(11, 0, 0)), ("full", 0));
        // Shown by now, perhaps, and still among the uploads.
        assert_eq!(ask(30, None, sum(11, 11, 0)), ("wait", 0));
        assert_eq!(ask(41, None, sum(11, 11, 0)), ("full", 0));
        // The quota shows it: one at a time, and no longer than it is.
        assert_eq!(ask(41, Some(41), sum(0, 0, 0)), ("fits", 1));
        assert_eq!(ask(41, Some(41), sum(0, 0, 41)), ("wait", 0));
        assert_eq!(ask(42, Some(41), sum(0, 0, 0)), ("full", 0));
    }
}
