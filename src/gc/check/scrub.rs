//! The scrub: reads every blob once in the time that is set, in the order of digests, and marks what is damaged. A
//! restart goes on where it was. It moves and mends nothing: that is for a person who asks.

use super::contents::{ContentState, blocking};
use super::pace::Pace;
use super::{Checker, PAGE};
use crate::gc::Alone;
use crate::repo::RepoError;
use crate::repo::check::{CheckedBlob, Verdict};
use crate::store::key::{Key, Parts};
use crate::types::wall_ms;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where the scrub is, in the table of cursors.
const NOTE: &str = "check.scrub";
/// It reads at least so fast (bytes a second) where the limit allows it, and rests when it is done.
const LEAST: u64 = 256 << 10;
/// After a failure it waits so long.
const REST: Duration = Duration::from_mins(1);

/// Numbers that [`ScrubCounters`] is read from.
#[derive(Debug, Default)]
pub(super) struct Counts {
    blobs: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
    unreadable: AtomicU64,
    strays: AtomicU64,
    pass_bytes: AtomicU64,
    pass_total: AtomicU64,
    last_full_ms: AtomicU64,
}

/// Counters for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScrubCounters {
    /// Blobs read since the start.
    pub blobs: u64,
    /// Bytes read since the start.
    pub bytes: u64,
    /// Blobs found damaged since the start.
    pub damaged: u64,
    /// Blobs that the disk refused to read since the start.
    pub unreadable: u64,
    /// Content files without a row, as of the last look; they are noted, and `dryport check --repair` puts them aside.
    pub strays: u64,
    /// Bytes of this pass that are read.
    pub pass_bytes: u64,
    /// All bytes of this pass, as of its start.
    pub pass_total: u64,
    /// When the last full pass ended (wall clock, ms); 0: never.
    pub last_full_ms: u64,
}

/// How far a pass is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ScrubProgress {
    /// Bytes of this pass that are read.
    pub pass_bytes: u64,
    /// All bytes of this pass, as of its start.
    pub pass_total: u64,
}

/// How far the scrub is; kept in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Position {
    /// When this pass, or the one that ended last, began (running ms).
    begun: u64,
    /// It is over; the next one waits for its time.
    over: bool,
    /// Bytes of this pass that are read.
    bytes: u64,
    /// When the last full pass ended (wall clock, ms).
    last_full_ms: u64,
    /// Where it goes on.
    from: Vec<u8>,
}

impl Position {
    fn read(note: &[u8]) -> Option<Self> {
        let mut parts = Parts(note);
        Some(Self {
            begun: parts.u64()?,
            over: parts.u8()? == 1,
            bytes: parts.u64()?,
            last_full_ms: parts.u64()?,
            from: parts.rest().to_vec(),
        })
    }

    fn write(&self) -> Vec<u8> {
        Key::new()
            .u64(self.begun)
            .u8(u8::from(self.over))
            .u64(self.bytes)
            .u64(self.last_full_ms)
            .raw(&self.from)
            .done()
    }
}

impl Checker {
    /// The counters as they are now.
    pub fn scrub_counters(&self) -> ScrubCounters {
        let counts = &self.0.scrub;
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        ScrubCounters {
            blobs: read(&counts.blobs),
            bytes: read(&counts.bytes),
            damaged: read(&counts.damaged),
            unreadable: read(&counts.unreadable),
            strays: read(&counts.strays),
            pass_bytes: read(&counts.pass_bytes),
            pass_total: read(&counts.pass_total),
            last_full_ms: read(&counts.last_full_ms),
        }
    }

    /// Whether it scrubs at all.
    pub fn scrubs_by_itself(&self) -> bool {
        !self.0.options.every.is_zero()
    }

    /// The pass that runs, or ran last; its number is when it began (running ms), also after a restart.
    pub fn alone(&self) -> Option<Alone<ScrubProgress>> {
        self.0.alone.get()
    }

    /// Ends the pass that runs; the next one begins in its time.
    pub fn skip(&self) {
        if let Some(pass) = &*self.this_pass() {
            pass.cancel();
        }
    }

    fn this_pass(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.0.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scrubs until `stop`.
    pub async fn keep_scrubbing(&self, stop: CancellationToken) {
        let every = self.0.options.every;
        if every.is_zero() {
            return;
        }
        loop {
            let rest = match self.pass(every, &stop).await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::warn!(%error, "the scrub cannot go on now and tries again");
                    REST
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Where a pass goes on or begins, or how long it is until there is one.
    async fn position(&self, every_ms: u64) -> Result<Result<Position, Duration>, RepoError> {
        let now = self.0.repos.running_ms();
        let before = Position::read(&self.0.repos.note_of(NOTE).await?);
        let has_been = before.is_some();
        let mut position = before.unwrap_or_default();
        let last_full = &self.0.scrub.last_full_ms;
        last_full.store(position.last_full_ms, Ordering::Relaxed);
        if has_been && !position.over {
            return Ok(Ok(position));
        }
        let due = position.begun + every_ms;
        if has_been && now < due {
            self.0.alone.begin(position.begun);
            self.0.alone.end(Ok(()));
            return Ok(Err(Duration::from_millis(due - now)));
        }
        position.begun = now;
        position.over = false;
        position.bytes = 0;
        position.from = Vec::new();
        Ok(Ok(position))
    }

    /// One pass, or the rest of one, or none if it is not time; answers how long to wait.
    async fn pass(&self, every: Duration, stop: &CancellationToken) -> Result<Duration, RepoError> {
        let every_ms = every.as_millis() as u64;
        let mut position = match self.position(every_ms).await? {
            Ok(position) => position,
            Err(wait) => return Ok(wait),
        };
        let counts = &self.0.scrub;
        self.0.alone.begin(position.begun);
        self.note_strays().await?;
        let (bytes, blobs) = self.0.repos.contents_size(Vec::new()).await?;
        counts.pass_total.store(bytes, Ordering::Relaxed);
        counts.pass_bytes.store(position.bytes, Ordering::Relaxed);
        let skipped = stop.child_token();
        *self.this_pass() = Some(skipped.clone());
        let reader = Pace::new(self.speed(bytes, blobs, every), skipped.clone());
        let mut is_whole = true;
        'pass: loop {
            let (page, next) = self.0.repos.contents(position.from.clone(), PAGE).await?;
            for content in &page {
                self.scrub(content, &reader).await?;
                if stop.is_cancelled() {
                    // What was read of this page is read again.
                    return Ok(Duration::ZERO);
                }
                if skipped.is_cancelled() {
                    tracing::info!(
                        "somebody ended this pass of the scrub; the next one begins in its time"
                    );
                    is_whole = false;
                    break 'pass;
                }
                position.bytes += content.size;
                counts.pass_bytes.store(position.bytes, Ordering::Relaxed);
                self.0.alone.far(ScrubProgress {
                    pass_bytes: position.bytes,
                    pass_total: bytes,
                });
            }
            let Some(next) = next else {
                break;
            };
            position.from = next;
            self.0.repos.set_note(NOTE, position.write()).await?;
        }
        self.note_strays().await?;
        position.over = true;
        position.from = Vec::new();
        if is_whole {
            position.last_full_ms = wall_ms();
            tracing::info!(blobs, bytes, "every blob has been read once");
        }
        self.0.repos.set_note(NOTE, position.write()).await?;
        counts
            .last_full_ms
            .store(position.last_full_ms, Ordering::Relaxed);
        self.0.alone.end(Ok(()));
        let spent = self.0.repos.running_ms().saturating_sub(position.begun);
        Ok(Duration::from_millis(every_ms.saturating_sub(spent)))
    }

    /// Looks which content files have no row, and since when.
    async fn note_strays(&self) -> Result<(), RepoError> {
        let strays = self.look_for_strays().await?;
        self.0.scrub.strays.store(strays, Ordering::Relaxed);
        if strays > 0 {
            tracing::info!(
                strays,
                "content files of writes that were cut off lie around; `dryport check --repair` puts them aside"
            );
        }
        Ok(())
    }

    /// Whether the content file is gone alone: its folder is there.
    async fn is_lost(&self, content: &CheckedBlob) -> Result<bool, RepoError> {
        let Some(place) = content.place.clone() else {
            return Ok(true);
        };
        let (blobs, size) = (self.0.blobs.clone(), content.size);
        blocking(move || blobs.content.is_lost(&place, size)).await
    }

    /// Bytes a second: a third faster than it would have to be, never faster than the limit.
    fn speed(&self, bytes: u64, blobs: u64, every: Duration) -> u64 {
        let all = u128::from(bytes) + u128::from(blobs) * 4096;
        let needed = all * 4000 / 3 / every.as_millis().max(1);
        let speed = u64::try_from(needed).unwrap_or(u64::MAX).max(LEAST);
        match self.0.options.rate {
            0 => speed,
            most => speed.min(most),
        }
    }

    async fn scrub(&self, content: &CheckedBlob, pace: &Pace) -> Result<(), RepoError> {
        let found = self.confirmed(content, true, pace).await?;
        let counts = &self.0.scrub;
        counts.blobs.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(content.size, Ordering::Relaxed);
        let Some((content, state)) = found else {
            return Ok(());
        };
        let digest = content.digest;
        match state {
            ContentState::Stopped => {}
            ContentState::Whole => {
                if self.0.repos.judge(&content, Verdict::Whole).await? {
                    tracing::info!(%digest, "a blob that was marked as damaged is whole again");
                }
            }
            ContentState::Size(len) => {
                tracing::error!(%digest, len, row = content.size, "a blob's row gives a wrong length; run `dryport check --repair`");
            }
            ContentState::Unreadable(error) => {
                counts.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%digest, error, "the disk refuses to read a blob; it stays as it is");
            }
            _ if content.damaged => {
                tracing::warn!(%digest, "a damaged blob still waits for a push");
            }
            // A whole disk may be missing, and come back.
            ContentState::Missing if !self.is_lost(&content).await? => {
                counts.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%digest, "the folder of a blob's content file is missing; the blob stays as it is");
            }
            state => {
                let tags = self.0.repos.touched_by(&digest).await?.tags;
                if self.0.repos.judge(&content, Verdict::Damaged).await? {
                    counts.damaged.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%digest, ?state, tags = tags.join(", "), "a blob is damaged and is not served until it is pushed again; `dryport check --repair` fetches what it can");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_back() {
        let position = Position {
            begun: 7,
            over: true,
            bytes: 1 << 40,
            last_full_ms: 9,
            from: vec![1, 2, 3],
        };
        assert_eq!(Position::read(&position.write()), Some(position));
        assert_eq!(Position::read(b""), None);
    }
}
