//! Receiving: a request's body into an upload, one piece written while the next one comes.
//!
//! Bytes are hashed by the thread that received them, while they are near: at most what a connection holds, which takes it
//! some 0.2 ms. The disk, which takes as long as receiving and hashing, is waited for elsewhere meanwhile.

use crate::blobs::{Ahead, Ingest, UploadName};
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::state::lock;
use crate::repo::uploads::piece::{HELD, Piece};
use crate::repo::uploads::sessions::Turn;
use crate::types::{ContentRange, Digest};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep};

/// A request's body: bytes as they come, or why no more do.
pub trait BodyStream:
    Stream<Item = Result<Bytes, <Self as BodyStream>::Error>> + Send + Unpin
{
    /// Why it broke off, in words.
    type Error: std::fmt::Display;
}

impl<S, E> BodyStream for S
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::fmt::Display,
{
    type Error = E;
}

/// What comes after these bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::repo) enum Goal {
    /// More of the upload.
    More,
    /// Its end, with this digest if one was named.
    End(Option<Digest>),
}

impl Goal {
    fn digest(self) -> Option<Digest> {
        match self {
            Self::More => None,
            Self::End(digest) => digest,
        }
    }
}

impl Repos {
    /// Streams a body into the upload's ingest: one piece is written while the next is received.
    ///
    /// Every byte held is paid for from the budget of all uploads. Where that is used up, what this upload holds is
    /// written before it waits. At the end of an upload the last piece comes back and is not written yet.
    pub(in crate::repo) async fn receive(
        &self,
        turn: &mut Turn,
        range: Option<ContentRange>,
        len: Option<u64>,
        goal: Goal,
        mut body: impl BodyStream,
    ) -> Result<Piece, RepoError> {
        let before = turn.session.offset;
        let digest = goal.digest();
        self.check_chunk(turn, range, len, digest.as_ref()).await?;
        let mut writer = Writer::new(self, turn, digest);
        let mut piece = Piece::default();
        let mut broken = None;
        let mut clock = pin!(sleep(HELD));
        loop {
            let frame = match next(&mut body, clock.as_mut(), piece.due).await {
                Next::Frame(frame) => frame,
                Next::Late => {
                    writer.write(std::mem::take(&mut piece)).await?;
                    continue;
                }
                Next::End => break,
                Next::Broken(error) => {
                    broken = Some(RepoError::Body(error));
                    break;
                }
            };
            if !writer.turn.session.is_open() {
                return Err(RepoError::UploadUnknown);
            }
            self.gather(frame, &mut piece, &mut writer).await?;
        }
        if matches!(goal, Goal::More) || broken.is_some() {
            writer.write(std::mem::take(&mut piece)).await?;
        }
        writer.flush().await?;
        if let Some(broken) = broken {
            return Err(broken);
        }
        let got = writer.turn.session.offset - before + piece.bytes.len() as u64;
        if !piece.bytes.is_empty() {
            writer.ask(piece.bytes.len()).await?;
        }
        piece.ahead = Some(writer.ahead);
        match range.filter(|r| r.len() != got) {
            Some(range) => Err(RepoError::Size {
                want: range.len(),
                got,
            }),
            None => Ok(piece),
        }
    }

    /// Takes a frame into the piece; each that is whole is written.
    async fn gather(
        &self,
        mut frame: Bytes,
        piece: &mut Piece,
        writer: &mut Writer<'_>,
    ) -> Result<(), RepoError> {
        let memory = &self.0.memory;
        while !frame.is_empty() {
            let so_far = writer.ahead.bytes();
            let mut capacity = piece.capacity_for(frame.len(), so_far, memory);
            let share = if let Some(share) = memory.try_take(piece.price_of(capacity)) {
                share
            } else {
                writer.write(std::mem::take(piece)).await?;
                writer.flush().await?;
                capacity = piece.capacity_for(frame.len(), so_far, memory);
                memory.take(piece.price_of(capacity)).await
            };
            let taken = piece.add(&frame, capacity, share, memory);
            writer.ahead.update(&frame[..taken]);
            frame.advance(taken);
            if piece.is_whole() {
                writer.write(std::mem::take(piece)).await?;
            }
        }
        Ok(())
    }

    /// Refuses what can be refused before the bytes come: a chunk out of order, and one for which there is no room.
    pub(in crate::repo) async fn check_chunk(
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
            self.0.blobs.content.room_for(len)?;
            let (name, all) = (&turn.session.name, before.saturating_add(len));
            self.upload_room(name, turn.id, all, digest).await?;
        }
        Ok(())
    }
}

/// What a body brings next.
enum Next {
    Frame(Bytes),
    /// Nothing yet, and the piece is due.
    Late,
    End,
    Broken(String),
}

/// The clock is set once a piece, and only when nothing is there to take: setting one for each frame shows.
async fn next(
    body: &mut impl BodyStream,
    mut clock: Pin<&mut Sleep>,
    due: Option<Instant>,
) -> Next {
    poll_fn(|cx| {
        match body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Next::Frame(frame)),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Next::Broken(error.to_string())),
            Poll::Ready(None) => return Poll::Ready(Next::End),
            Poll::Pending => {}
        }
        let Some(due) = due else {
            return Poll::Pending;
        };
        if clock.deadline() != due {
            clock.as_mut().reset(due);
        }
        clock.as_mut().poll(cx).map(|()| Next::Late)
    })
    .await
}

/// Writes pieces behind the receiving: at most one is on its way.
struct Writer<'a> {
    repos: &'a Repos,
    turn: &'a mut Turn,
    /// The hash of all that has come.
    ahead: Ahead,
    pending: Option<JoinHandle<Result<u64, RepoError>>>,
    /// Of all bytes, where that is known.
    digest: Option<Digest>,
}

impl<'a> Writer<'a> {
    fn new(repos: &'a Repos, turn: &'a mut Turn, digest: Option<Digest>) -> Self {
        let session = &turn.session;
        let begun = lock(&session.ingest).as_ref().map(Ingest::ahead);
        Self {
            repos,
            ahead: begun.unwrap_or_else(|| Ahead::new(session.algorithm)),
            turn,
            pending: None,
            digest,
        }
    }

    /// Starts to write a piece, the last bytes that came; nothing of it stays in memory.
    async fn write(&mut self, piece: Piece) -> Result<(), RepoError> {
        if piece.bytes.is_empty() {
            return Ok(());
        }
        self.flush().await?;
        self.ask(piece.bytes.len()).await?;
        if self.turn.session.offset == 0 && lock(&self.turn.session.ingest).is_none() {
            let session = &self.turn.session;
            let repo = self.repos.repo_of(session).await?;
            let name = UploadName::session(self.turn.id, repo, session.algorithm);
            let ingest = self
                .repos
                .0
                .blobs
                .uploads
                .begin(name)
                .of(session.owner.clone());
            *lock(&session.ingest) = Some(ingest);
        }
        self.repos.wake(self.turn).await?;
        let turn = &*self.turn;
        let saved = self
            .repos
            .save_if_due(turn.id, &turn.session, || turn.hold());
        saved.await?;
        let (slot, hold) = (Arc::clone(&self.turn.session.ingest), self.turn.hold());
        let (memory, ahead) = (self.repos.0.memory.clone(), self.ahead.clone());
        self.pending = Some(tokio::task::spawn_blocking(move || {
            // By name: a field that is not named stays behind, and the share with it.
            let Piece {
                bytes,
                share: _paid_until_written,
                ..
            } = piece;
            let mut guard = lock(&slot);
            let ingest = guard.as_mut().ok_or(RepoError::UploadUnknown)?;
            ingest.write_through(&bytes, Some(ahead))?;
            hold.reached(ingest.offset());
            memory.give_back(bytes);
            Ok(ingest.offset())
        }));
        Ok(())
    }

    /// Asks the quotas for room for so many bytes more, unless they were announced.
    async fn ask(&self, more: usize) -> Result<(), RepoError> {
        let session = &self.turn.session;
        let all = session.offset.saturating_add(more as u64);
        let (repos, id) = (self.repos, self.turn.id);
        let digest = self.digest.as_ref();
        repos.upload_room(&session.name, id, all, digest).await
    }

    async fn flush(&mut self) -> Result<(), RepoError> {
        if let Some(pending) = self.pending.take() {
            self.turn.session.offset = pending
                .await
                .map_err(|e| RepoError::Task(e.to_string()))??;
        }
        Ok(())
    }
}
