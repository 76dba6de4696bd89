//! Receiving: a request's body into an upload, one piece hashed and written while the next one comes.

use super::Repos;
use super::error::RepoError;
use super::memory::Share;
use super::sessions::Turn;
use super::state::lock;
use crate::types::{ContentRange, Digest};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Network frames are gathered to pieces of this size before they are hashed and written.
const PIECE: usize = 512 << 10;
/// A small body, or the begin of a large one, takes no more memory than this.
const FIRST: usize = 64 << 10;
/// The longest time that received bytes wait for more.
const HELD: Duration = Duration::from_secs(1);
/// How often a row is saved while bytes come in.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// After so many bytes of a body of unknown length the quotas are looked at, and again at each doubling.
const LOOK_AT: u64 = 64 << 20;

/// A request's body: bytes as they come, or why no more do.
pub trait Body: Stream<Item = Result<Bytes, <Self as Body>::Error>> + Send + Unpin {
    /// Why it broke off, in words.
    type Error: std::fmt::Display;
}

impl<S, E> Body for S
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::fmt::Display,
{
    type Error = E;
}

impl Repos {
    /// Streams a body into the upload's ingest: one piece is hashed and written while the next is received.
    ///
    /// Every byte held is paid for from the budget of all uploads. Where that is used up, what this upload holds is
    /// written before it waits.
    pub(super) async fn receive(
        &self,
        turn: &mut Turn,
        range: Option<ContentRange>,
        len: Option<u64>,
        digest: Option<&Digest>,
        mut body: impl Body,
    ) -> Result<(), RepoError> {
        let before = turn.session.offset;
        self.check_chunk(turn, range, len, digest).await?;
        let mut writer = Writer::new(self, turn);
        let mut piece = Piece::default();
        let mut broken = None;
        loop {
            let frame = match piece.next(&mut body).await {
                Next::Frame(frame) => frame,
                Next::Late => {
                    writer.write(std::mem::take(&mut piece), false).await?;
                    continue;
                }
                Next::End => break,
                Next::Broken(error) => {
                    broken = Some(RepoError::Body(error));
                    break;
                }
            };
            let room = piece.room_for(frame.len());
            let share = if let Some(share) = self.0.memory.try_take(room) {
                share
            } else {
                writer.write(std::mem::take(&mut piece), false).await?;
                writer.flush().await?;
                self.0.memory.take(piece.room_for(frame.len())).await
            };
            piece.add(&frame, share);
            if piece.bytes.len() >= PIECE {
                writer.write(std::mem::take(&mut piece), false).await?;
            }
        }
        let closing = digest.is_some() && broken.is_none();
        writer.write(piece, closing).await?;
        writer.flush().await?;
        if let Some(broken) = broken {
            return Err(broken);
        }
        let got = turn.session.offset - before;
        match range.filter(|r| r.len() != got) {
            Some(range) => Err(RepoError::Size {
                want: range.len(),
                got,
            }),
            None => Ok(()),
        }
    }

    /// Refuses what can be refused before the bytes come: a chunk out of order, and one for which there is no room.
    async fn check_chunk(
        &self,
        turn: &Turn,
        range: Option<ContentRange>,
        len: Option<u64>,
        digest: Option<&Digest>,
    ) -> Result<(), RepoError> {
        let before = turn.session.offset;
        if let Some(range) = range.filter(|r| r.first != before) {
            return Err(RepoError::OutOfOrder {
                want: before,
                got: range.first,
            });
        }
        if let (Some(range), Some(len)) = (range, len)
            && range.len() != len
        {
            return Err(RepoError::Size {
                want: range.len(),
                got: len,
            });
        }
        if let Some(len) = len.or(range.map(|r| r.len())) {
            self.0.blobs.room_for(len)?;
            let name = &turn.session.name;
            self.quota_room(name, digest, before + len).await?;
        }
        Ok(())
    }
}

/// Received bytes that wait to be written, and what they cost.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    share: Share,
    /// When it is written, whole or not: a slow client does not keep memory from others.
    due: Option<Instant>,
}

/// What a body brings next.
enum Next {
    Frame(Bytes),
    /// Nothing yet, and the piece is due.
    Late,
    End,
    Broken(String),
}

impl Piece {
    async fn next(&self, body: &mut impl Body) -> Next {
        let frame = match self.due {
            None => body.next().await,
            Some(due) => match timeout_at(due, body.next()).await {
                Ok(frame) => frame,
                Err(_) => return Next::Late,
            },
        };
        match frame {
            Some(Ok(frame)) => Next::Frame(frame),
            Some(Err(error)) => Next::Broken(error.to_string()),
            None => Next::End,
        }
    }

    /// By how much the piece must become larger in memory to take so many bytes more: what is paid for is what is held,
    /// not what is used of it.
    fn room_for(&self, len: usize) -> usize {
        let (held, wanted) = (self.bytes.capacity(), self.bytes.len() + len);
        match wanted {
            _ if wanted <= held => 0,
            ..=FIRST => FIRST - held,
            _ => wanted.max(PIECE) - held,
        }
    }

    fn add(&mut self, frame: &[u8], share: Share) {
        self.due.get_or_insert_with(|| Instant::now() + HELD);
        let more = self.room_for(frame.len());
        if more > 0 {
            let unused = self.bytes.capacity() - self.bytes.len();
            self.bytes.reserve_exact(unused + more);
        }
        self.bytes.extend_from_slice(frame);
        self.share.add(share);
    }
}

/// Writes pieces behind the receiving: at most one is on its way.
struct Writer<'a> {
    repos: &'a Repos,
    turn: &'a mut Turn,
    pending: Option<JoinHandle<Result<(u64, Share), RepoError>>>,
    saved: Instant,
    look_at: u64,
}

impl<'a> Writer<'a> {
    fn new(repos: &'a Repos, turn: &'a mut Turn) -> Self {
        Self {
            repos,
            turn,
            pending: None,
            saved: Instant::now(),
            look_at: LOOK_AT,
        }
    }

    /// Starts to hash and write a piece. The last one of an upload may stay in memory until it is sealed, and keeps its
    /// share as long; of others nothing stays.
    async fn write(&mut self, piece: Piece, last: bool) -> Result<(), RepoError> {
        if piece.bytes.is_empty() {
            return Ok(());
        }
        self.flush().await?;
        if self.turn.session.offset == 0 && lock(&self.turn.session.ingest).is_none() {
            let session = &self.turn.session;
            let repo = self.repos.ensure_repo(&session.name).await?;
            let ingest = self
                .repos
                .0
                .blobs
                .begin(self.turn.id, repo, session.algorithm);
            *lock(&session.ingest) = Some(ingest);
        }
        if self.turn.session.offset > self.look_at {
            self.look_at *= 2;
            let session = &self.turn.session;
            self.repos
                .quota_room(&session.name, None, session.offset)
                .await?;
        }
        if self.saved.elapsed() > SAVE_EVERY {
            self.saved = Instant::now();
            self.repos.save_session(self.turn.id).await?;
        }
        let (slot, hold) = (Arc::clone(&self.turn.session.ingest), self.turn.hold());
        self.pending = Some(tokio::task::spawn_blocking(move || {
            let Piece { bytes, share, .. } = piece;
            let mut guard = lock(&slot);
            let ingest = guard.as_mut().ok_or(RepoError::UploadUnknown)?;
            let kept = if last {
                ingest.write(&bytes)?;
                share
            } else {
                ingest.write_through(&bytes)?;
                Share::default()
            };
            hold.reached(ingest.offset());
            Ok((ingest.offset(), kept))
        }));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), RepoError> {
        if let Some(pending) = self.pending.take() {
            let (offset, kept) = pending
                .await
                .map_err(|e| RepoError::Task(e.to_string()))??;
            self.turn.session.offset = offset;
            self.turn.held.add(kept);
        }
        Ok(())
    }
}
