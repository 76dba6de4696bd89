//! Receiving: a request's body into an upload, one piece hashed and written while the next one comes.

use super::Repos;
use super::error::RepoError;
use super::state::{Turn, lock};
use crate::types::{ContentRange, Digest};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Network frames are gathered to pieces of this size before they are hashed and written.
const PIECE: usize = 1 << 20;
/// How often a row is saved while bytes come in.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// After so many bytes of a body of unknown length the quotas are looked at, and again at each doubling.
const LOOK_AT: u64 = 64 << 20;

impl Repos {
    /// Streams a body into the upload's ingest: one piece is hashed and written while the next is received.
    pub(super) async fn receive<S, E>(
        &self,
        turn: &mut Turn<'_>,
        range: Option<ContentRange>,
        len: Option<u64>,
        digest: Option<&Digest>,
        mut body: S,
    ) -> Result<(), RepoError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::fmt::Display,
    {
        let before = turn.session.offset;
        self.check_chunk(turn, range, len, digest).await?;
        let mut writer = Writer {
            repos: self,
            turn,
            pending: None,
            saved: Instant::now(),
            look_at: LOOK_AT,
        };
        let mut piece = BytesMut::new();
        let mut broken = None;
        while let Some(frame) = body.next().await {
            match frame {
                Ok(frame) if piece.is_empty() && frame.len() >= PIECE => {
                    writer.write(frame).await?;
                }
                Ok(frame) => {
                    piece.extend_from_slice(&frame);
                    if piece.len() >= PIECE {
                        writer.write(piece.split().freeze()).await?;
                    }
                }
                Err(e) => {
                    broken = Some(RepoError::Body(e.to_string()));
                    break;
                }
            }
        }
        if !piece.is_empty() {
            writer.write(piece.freeze()).await?;
        }
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
        turn: &Turn<'_>,
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

/// Writes pieces behind the receiving: at most one is on its way.
struct Writer<'a, 'b> {
    repos: &'a Repos,
    turn: &'a mut Turn<'b>,
    pending: Option<tokio::task::JoinHandle<Result<u64, RepoError>>>,
    saved: Instant,
    look_at: u64,
}

impl Writer<'_, '_> {
    async fn write(&mut self, piece: Bytes) -> Result<(), RepoError> {
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
        let slot = Arc::clone(&self.turn.session.ingest);
        self.pending = Some(tokio::task::spawn_blocking(move || {
            let mut guard = lock(&slot);
            let ingest = guard.as_mut().ok_or(RepoError::UploadUnknown)?;
            ingest.write(&piece)?;
            Ok(ingest.offset())
        }));
        Ok(())
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
