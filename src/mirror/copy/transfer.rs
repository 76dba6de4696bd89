//! One attempt to fetch a blob: from the other registry's answer into a fill, and how the bytes came.

use super::{Copy, PIECE, TRIES};
use crate::blobs::{BlobError, Buffer};
use crate::fetch::{Download, FetchError, FetchSpan};
use crate::mirror::MirrorError;
use crate::mirror::closure::PlannedBlob;
use crate::repo::{Fill, RepoError};
use crate::types::Digest;
use bytes::{Buf as _, Bytes};
use std::sync::atomic::Ordering;

/// How the bytes of a blob came.
#[derive(Default)]
pub(super) struct How {
    /// They were put together of parts, or decoded: they may be right if they are asked for in another way.
    pub made: bool,
    /// They may be coded in this way.
    pub coding: Option<String>,
}

/// What came of one attempt to fetch a blob.
pub(super) enum Came {
    /// It is here; so many bytes of it came.
    Whole(u64),
    /// It had this digest, and is dropped.
    Wrong { got: Digest, how: How },
    /// Something beside us changed the file of what was there or came; it is dropped.
    Changed,
}

impl Copy<'_> {
    /// Downloads into `fill` and seals it. Whatever goes wrong on the way, what arrived is kept for the next run; what is
    /// whole and wrong is dropped, and the next attempt asks for all of it, and in another way.
    pub(super) async fn fill(
        &self,
        blob: &PlannedBlob,
        fill: Fill,
        attempt: usize,
    ) -> Result<Came, MirrorError> {
        let from = fill.offset();
        let (fill, result, how) = if from < blob.size {
            self.grown(blob, from);
            let span = FetchSpan {
                from,
                size: blob.size,
                ranges: attempt == 0,
                decode: attempt != 1,
            };
            self.transfer(blob, fill, span).await?
        } else {
            let made = true;
            (
                fill,
                Ok(()),
                How {
                    made,
                    ..How::default()
                },
            )
        };
        match result {
            Ok(()) => {}
            // The digest decides, which drops what is wrong.
            Err(MirrorError::Fetch(FetchError::TooLarge { .. } | FetchError::Coding { .. }))
                if how.made => {}
            Err(error @ MirrorError::Fetch(FetchError::Coded { .. })) => {
                // What came is of no use, unless its digest says otherwise.
                let sealed = self.repos.finish_fill(self.target, fill).await;
                return sealed.map_or(Err(error), |()| Ok(Came::Whole(blob.size)));
            }
            Err(error) => {
                self.pause(blob, fill, from).await;
                return Err(error);
            }
        }
        match self.repos.finish_fill(self.target, fill).await {
            Err(RepoError::Blob(BlobError::Digest { got, .. })) => {
                return Ok(Came::Wrong { got, how });
            }
            Err(RepoError::Blob(BlobError::Changed)) if how.made && attempt + 1 < TRIES => {
                return Ok(Came::Changed);
            }
            sealed => sealed?,
        }
        self.grown(blob, blob.size);
        let came = blob.size.saturating_sub(from);
        self.kept.fetch_add(came, Ordering::Relaxed);
        Ok(Came::Whole(came))
    }

    /// Keeps what came of a fill that began at `from`. That it cannot be kept is no error: the transfer's own says more.
    async fn pause(&self, blob: &PlannedBlob, fill: Fill, from: u64) {
        let came = fill.offset().saturating_sub(from);
        match self.repos.pause_fill(self.target, fill).await {
            Ok(()) => {
                self.kept.fetch_add(came, Ordering::Relaxed);
            }
            Err(pause) => {
                tracing::warn!(blob = %blob.digest, error = %pause, "a half-fetched blob could not be kept");
            }
        }
    }

    /// The fill after the transfer, how that ended, and how the bytes came.
    async fn transfer(
        &self,
        blob: &PlannedBlob,
        fill: Fill,
        span: FetchSpan,
    ) -> Result<(Fill, Result<(), MirrorError>, How), MirrorError> {
        let begun = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(MirrorError::Cancelled),
            begun = self.registry.blob(&blob.digest, span) => begun.map_err(|e| self.absent(blob, e)),
        };
        let mut download = match begun {
            Ok(download) => download,
            Err(error) => return Ok((fill, Err(error), How::default())),
        };
        let mut fill = fill;
        let mut rest = Bytes::new();
        loop {
            let (piece, ended) = self.gather(&mut download, &mut rest).await;
            if !piece.is_empty() {
                let (back, wrote) = write(fill, piece).await?;
                fill = back;
                if let Err(error) = wrote {
                    return Ok((fill, Err(error.into()), How::default()));
                }
                // The end is told after sealing.
                self.grown(blob, fill.offset().min(blob.size.saturating_sub(1)));
            }
            if let Some(result) = ended {
                let how = How {
                    made: span.from > 0 || download.is_made(),
                    coding: download.coding().map(str::to_owned),
                };
                return Ok((fill, result, how));
            }
        }
    }

    /// A [`PIECE`] of bytes, or how the transfer ended and what came before; `rest` is what came for the next piece.
    async fn gather(
        &self,
        download: &mut Download,
        rest: &mut Bytes,
    ) -> (Buffer, Option<Result<(), MirrorError>>) {
        let mut piece = Buffer::with_capacity(PIECE);
        loop {
            rest.advance(piece.fill(rest));
            if piece.len() == PIECE {
                return (piece, None);
            }
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => return (piece, Some(Err(MirrorError::Cancelled))),
                next = download.chunk() => next,
            };
            match next {
                Ok(Some(bytes)) => *rest = bytes,
                Ok(None) => return (piece, Some(Ok(()))),
                Err(error) => return (piece, Some(Err(error.into()))),
            }
        }
    }

    fn absent(&self, blob: &PlannedBlob, error: FetchError) -> MirrorError {
        match error {
            FetchError::Status { status: 404, .. } => self.lacks(blob),
            error => error.into(),
        }
    }
}

pub(super) async fn write(
    mut fill: Fill,
    piece: Buffer,
) -> Result<(Fill, Result<(), RepoError>), MirrorError> {
    tokio::task::spawn_blocking(move || {
        let result = fill.write(&piece);
        (fill, result)
    })
    .await
    .map_err(|e| MirrorError::Internal(e.to_string()))
}
