//! Contents against their digests: every blob's bytes are where its row says, of its length, and with `deep` they are
//! read to the end. What is wrong is looked at twice before it is told.

use super::Checker;
use super::pace::Pace;
use crate::blobs::{BlobError, FoundContent, Place};
use crate::repo::RepoError;
use crate::repo::check::{CheckedBlob, Problem, ProblemKind, Verdict};
use crate::types::{Digest, Remedy};

/// What helps where the disk refuses.
const UNREADABLE: &str = "look at the disk; the blob is not marked, for its bytes may be whole";

/// What a blob's bytes turned out to be.
#[derive(Debug)]
pub(super) enum ContentState {
    /// As they should be.
    Whole,
    /// Whole, but of another length than the row says.
    Size(u64),
    /// Not there.
    Missing,
    /// Of another length, and others.
    Length(u64),
    /// Others.
    Corrupt,
    /// The disk refuses.
    Unreadable(String),
    /// Told to stop.
    Stopped,
}

impl Checker {
    /// Looks at one blob's bytes; all of them if `deep`, or if anything is odd.
    pub(super) async fn state(
        &self,
        content: &CheckedBlob,
        deep: bool,
        speed: &Pace,
    ) -> Result<ContentState, RepoError> {
        let Some(place) = content.place.clone() else {
            return self.inline_state(content, speed).await;
        };
        let (blobs, size, speed) = (self.0.blobs.clone(), content.size, speed.clone());
        let deep = deep || content.damaged;
        blocking(move || {
            let len = match blobs.content.len_of(&place) {
                Ok(Some(len)) => len,
                Ok(None) => return ContentState::Missing,
                Err(error) => return ContentState::Unreadable(error.to_string()),
            };
            if len == size && !deep {
                return ContentState::Whole;
            }
            if len != size && blobs.content.is_hollow(&place) {
                return ContentState::Length(len);
            }
            let mut read = 0;
            let found = blobs.content.read_through(&place, &mut |n| {
                read += n as u64;
                speed.spend(n as u64)
            });
            speed.spend_small(read);
            match found {
                FoundContent::Whole(len) if len == size => ContentState::Whole,
                FoundContent::Whole(len) => ContentState::Size(len),
                FoundContent::Other { len } if len == size => ContentState::Corrupt,
                FoundContent::Other { len } => ContentState::Length(len),
                FoundContent::Missing => ContentState::Missing,
                FoundContent::Unreadable(error) => ContentState::Unreadable(error.to_string()),
                FoundContent::Stopped => ContentState::Stopped,
            }
        })
        .await
    }

    /// The same, with a second look at what seems wrong: the blob may have gone or been healed since its row was read.
    /// `None`: there is nothing to tell.
    pub(super) async fn confirmed(
        &self,
        content: &CheckedBlob,
        deep: bool,
        speed: &Pace,
    ) -> Result<Option<(CheckedBlob, ContentState)>, RepoError> {
        let first = self.state(content, deep, speed).await?;
        if is_fine(content, &first) {
            return Ok(None);
        }
        let Some(again) = self.0.repos.content(&content.digest).await? else {
            return Ok(None);
        };
        let second = self.state(&again, deep, speed).await?;
        Ok((!is_fine(&again, &second)).then_some((again, second)))
    }

    /// Tells of one blob that is not as it should be, and with `repair` does what can be done here: what is wrong moves
    /// to the quarantine and is not served until it is healed.
    pub(super) async fn judge(
        &self,
        content: &CheckedBlob,
        state: ContentState,
        repair: bool,
    ) -> Result<Problem, RepoError> {
        let digest = content.digest;
        let (kind, text) = named(content, &state);
        let mut problem = Problem::new(kind, format!("blob {digest}: {text}")).digest(&digest);
        if let Some(place) = &content.place {
            problem = problem.file(format!("blobs/{place}"));
        }
        let touched = self.0.repos.touched_by(&digest).await?;
        (problem.tags, problem.upstreams) = (touched.tags, touched.upstreams);
        match &state {
            ContentState::Whole => self.settle(problem, content, Verdict::Whole, repair).await,
            ContentState::Size(len) => {
                self.settle(problem, content, Verdict::Size(*len), repair)
                    .await
            }
            ContentState::Unreadable(_) if repair => self.unlock(problem, content).await,
            ContentState::Unreadable(_) => Ok(problem.how(UNREADABLE)),
            _ if repair => self.set_aside(problem, content).await,
            _ if content.damaged => Ok(problem.how("push or mirror it again")),
            _ => Ok(problem
                .how("a repair puts it aside; then push or mirror it again")
                .mended_by(Remedy::Repair)),
        }
    }

    /// What cannot be read for its mode alone is opened to its owner, and read.
    async fn unlock(&self, problem: Problem, content: &CheckedBlob) -> Result<Problem, RepoError> {
        let Some(place) = content.place.clone() else {
            return Ok(problem.how(UNREADABLE));
        };
        let (blobs, size) = (self.0.blobs.clone(), content.size);
        let is_whole = blocking(move || {
            let opened = blobs.content.make_readable(&place).unwrap_or(false);
            opened
                && matches!(blobs.content.read_through(&place, &mut |_| true), FoundContent::Whole(len) if len == size)
        })
        .await?;
        Ok(if is_whole {
            problem.done("its mode kept everybody out; it is 0600 now, and the bytes are whole")
        } else {
            problem.how(UNREADABLE)
        })
    }

    /// Writes the verdict on a blob whose bytes are whole.
    async fn settle(
        &self,
        problem: Problem,
        content: &CheckedBlob,
        verdict: Verdict,
        repair: bool,
    ) -> Result<Problem, RepoError> {
        if !repair {
            return Ok(problem.how("a repair mends it").mended_by(Remedy::Repair));
        }
        Ok(if self.0.repos.judge(content, verdict).await? {
            problem.done("mended: its bytes were read and are whole")
        } else {
            problem.how("it changed while it was looked at; check again")
        })
    }

    /// Marks a blob as damaged, so that nobody gets it and the next push brings it again, and moves what is there to
    /// the quarantine.
    async fn set_aside(
        &self,
        problem: Problem,
        content: &CheckedBlob,
    ) -> Result<Problem, RepoError> {
        let (blobs, digest) = (self.0.blobs.clone(), content.digest);
        let bytes = match content.place {
            None => self.0.repos.inline_bytes(&digest).await?,
            Some(_) => None,
        };
        let kept = match bytes {
            Some(bytes) => {
                Some(blocking(move || blobs.content.quarantine_bytes(&digest, &bytes)).await??)
            }
            None => None,
        };
        // The mark before the file goes: then nobody opens it, and a push that heals takes another place.
        let settled = content.damaged && kept.is_none();
        if !settled && !self.0.repos.judge(content, Verdict::PutAside).await? {
            return Ok(problem.how("it changed while it was looked at; check again"));
        }
        let blobs = self.0.blobs.clone();
        let moved = match content.place.clone() {
            Some(place) => {
                match blocking(move || blobs.content.quarantine(&format!("blobs/{place}"))).await? {
                    Ok(moved) => moved,
                    Err(e) => return Ok(problem.how(format!("{e}; push or mirror it again"))),
                }
            }
            None => kept,
        };
        Ok(match moved {
            Some(to) => problem.how(format!("moved to {to}; push or mirror it again")),
            None => problem.how("push or mirror it again"),
        })
    }

    /// Looks for the content of a blob whose row is missing or unusable, and with `repair` gives it a row again.
    pub(super) async fn rowless(
        &self,
        digest: &Digest,
        kind: ProblemKind,
        repair: bool,
        speed: &Pace,
    ) -> Result<Problem, RepoError> {
        let text = match kind {
            ProblemKind::BlobRowMissing => "references name it, but it has no row",
            ProblemKind::BlobPlaceWrong => "its row names a place that is not its own",
            _ => "its row cannot be read",
        };
        let mut problem = Problem::new(kind, format!("blob {digest}: {text}")).digest(digest);
        let touched = self.0.repos.touched_by(digest).await?;
        (problem.tags, problem.upstreams) = (touched.tags, touched.upstreams);
        let Some((size, place)) = self.find(digest, speed).await? else {
            return Ok(problem.how("its bytes are not here; push or mirror it again"));
        };
        if !repair {
            return Ok(problem
                .how("its bytes are here; a repair mends it")
                .mended_by(Remedy::Repair));
        }
        Ok(if self.0.repos.adopt(digest, size, place).await? {
            problem.done("mended: its bytes were read and are whole")
        } else {
            problem.how("it changed while it was looked at; check again")
        })
    }

    /// Whole bytes of a digest: their length, and their file unless they are in the database.
    async fn find(
        &self,
        digest: &Digest,
        speed: &Pace,
    ) -> Result<Option<(u64, Option<Place>)>, RepoError> {
        let (blobs, wanted, speed) = (self.0.blobs.clone(), *digest, speed.clone());
        let placed: Result<_, BlobError> = blocking(move || {
            for place in blobs.content.places_of(&wanted)? {
                if blobs.content.is_hollow(&place) {
                    continue;
                }
                let found = blobs
                    .content
                    .read_through(&place, &mut |n| speed.spend(n as u64));
                if let FoundContent::Whole(len) = found {
                    return Ok(Some((len, Some(place))));
                }
            }
            Ok(None)
        })
        .await?;
        if let Some(found) = placed? {
            return Ok(Some(found));
        }
        let found = self.0.repos.inline_state(digest).await?;
        Ok(found.and_then(|(len, is_right)| is_right.then_some((len, None))))
    }

    /// The bytes of a blob that has no file: they are few, and read whether or not others are.
    async fn inline_state(
        &self,
        content: &CheckedBlob,
        speed: &Pace,
    ) -> Result<ContentState, RepoError> {
        let Some((len, is_right)) = self.0.repos.inline_state(&content.digest).await? else {
            return Ok(ContentState::Missing);
        };
        if !self.spend(speed, len).await? {
            return Ok(ContentState::Stopped);
        }
        Ok(match is_right {
            true if len == content.size => ContentState::Whole,
            true => ContentState::Size(len),
            false => ContentState::Corrupt,
        })
    }

    /// [`Pace::spend`] for a blob of few bytes; blocks a thread of its own, and only where there is something to wait for.
    async fn spend(&self, speed: &Pace, len: u64) -> Result<bool, RepoError> {
        let all = move |pace: &Pace| pace.spend(len) && pace.spend_small(len);
        if !speed.is_limited() {
            return Ok(all(speed));
        }
        let pace = speed.clone();
        blocking(move || all(&pace)).await
    }
}

fn is_fine(content: &CheckedBlob, state: &ContentState) -> bool {
    match state {
        ContentState::Whole => !content.damaged,
        ContentState::Stopped => true,
        _ => false,
    }
}

fn named(content: &CheckedBlob, state: &ContentState) -> (ProblemKind, String) {
    let inline = content.place.is_none();
    let kind = match state {
        ContentState::Whole | ContentState::Stopped => ProblemKind::BlobWholeAgain,
        ContentState::Size(_) => ProblemKind::BlobSizeWrong,
        ContentState::Unreadable(_) => ProblemKind::BlobUnreadable,
        _ if content.damaged => ProblemKind::BlobAwaitsPush,
        ContentState::Missing if inline => ProblemKind::InlineMissing,
        ContentState::Missing => ProblemKind::BlobMissing,
        _ if inline => ProblemKind::InlineCorrupt,
        ContentState::Length(_) => ProblemKind::BlobTruncated,
        ContentState::Corrupt => ProblemKind::BlobCorrupt,
    };
    let text = match state {
        ContentState::Whole | ContentState::Stopped => {
            "it is marked as damaged, but its bytes are whole".into()
        }
        ContentState::Size(len) => format!("its row says {} bytes, it has {len}", content.size),
        ContentState::Missing if content.damaged => {
            "found damaged earlier; its bytes are not here".into()
        }
        ContentState::Missing => "its bytes are not here".into(),
        ContentState::Length(len) => {
            format!("its file has {len} bytes instead of {}", content.size)
        }
        ContentState::Corrupt => "its bytes are not those of its digest".into(),
        ContentState::Unreadable(error) => error.clone(),
    };
    (kind, text)
}

/// Work of a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RepoError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| RepoError::Task(e.to_string()))
}
