//! Bodies made of pieces: files sent in large chunks, with the framing of several ranges between them.
//!
//! Who reads such a body drops each frame once it is sent: where memory is short the next one waits for that.
//! A read error in the middle breaks the body, so that the client sees a broken connection and never a short success.

use crate::http::answer::body::BodyContent;
use crate::http::server::sending::chunk::{Chunk, Pause, SENDING, SMALL, a_turn};
use crate::http::server::sending::parts::{BodyParts, BodyPiece};
use crate::http::server::sending::sendfile::{Outbox, is_cached, read_cached};
use crate::types::Span;
use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// A body of these pieces of the content.
pub fn pieces(content: BodyContent, parts: BodyParts) -> Body {
    if let (BodyContent::Bytes(bytes), Some(span)) = (&content, parts.only_span()) {
        return Body::from(slice(bytes, span));
    }
    let left = parts.len();
    if left == 0 {
        return Body::empty();
    }
    let content = match content {
        BodyContent::Bytes(bytes) => Source::Bytes(bytes),
        BodyContent::File { file, outbox, .. } => Source::File(file, outbox),
    };
    Body::new(Pieces {
        content,
        parts,
        read: None,
        pause: None,
        left,
    })
}

enum Source {
    Bytes(Bytes),
    /// With the outbox of a connection that has the kernel send parts of files.
    File(Arc<File>, Option<Outbox>),
}

fn slice(bytes: &Bytes, span: Span) -> Bytes {
    let end = (span.start + span.len).min(bytes.len() as u64) as usize;
    bytes.slice((span.start as usize).min(end)..end)
}

/// What a body does next.
enum Next {
    Ready(Bytes),
    /// The disk is asked.
    Reading,
    End,
}

/// A body of several pieces. What the kernel has in memory is read at once, or sent by the kernel itself; where it must ask
/// the disk, the next chunk is read while the last one is being sent.
struct Pieces {
    content: Source,
    parts: BodyParts,
    read: Option<JoinHandle<io::Result<Chunk>>>,
    /// What the next chunk waits for.
    pause: Option<Pause>,
    left: u64,
}

impl Pieces {
    fn next(&mut self) -> Next {
        let (file, span) = match (&self.content, self.parts.pop()) {
            (_, None) => return Next::End,
            (_, Some(BodyPiece::Text(text))) => return Next::Ready(self.joined(&text)),
            (Source::Bytes(bytes), Some(BodyPiece::Span(span))) => {
                return Next::Ready(slice(bytes, span));
            }
            (Source::File(file, Some(outbox)), Some(BodyPiece::Span(span)))
                if span.len > SMALL as u64 && is_cached(file, span) =>
            {
                let stand_in = outbox.put(file, span);
                self.rest(span, stand_in.len());
                if !self.parts.is_empty() {
                    self.pause = Some(a_turn());
                }
                return Next::Ready(stand_in);
            }
            (Source::File(file, _), Some(BodyPiece::Span(span))) => (Arc::clone(file), span),
        };
        let mut chunk = self.begin(span);
        let start = span.start;
        let cached = read_cached(&file, chunk.room(), start);
        if cached == chunk.len() {
            if !self.parts.is_empty() {
                self.pause = Some(chunk.pause());
            }
            return Next::Ready(Bytes::from_owner(chunk));
        }
        self.ask_disk(file, chunk, start, cached);
        Next::Reading
    }

    /// Framing, with what follows it as far as that is short and in memory: thousands of tiny parts are few frames, and
    /// between two of them others have their turn.
    fn joined(&mut self, text: &Bytes) -> Bytes {
        let mut bytes = Vec::with_capacity(SMALL.max(text.len()));
        bytes.extend_from_slice(text);
        while let Some(piece) = self.parts.front() {
            let (before, room) = (bytes.len(), SMALL.saturating_sub(bytes.len()) as u64);
            match (piece, &self.content) {
                (BodyPiece::Text(text), _) if text.len() as u64 <= room => {
                    bytes.extend_from_slice(text);
                }
                (BodyPiece::Span(span), Source::Bytes(all)) if span.len <= room => {
                    bytes.extend_from_slice(&slice(all, *span));
                }
                (BodyPiece::Span(span), Source::File(file, _)) if span.len <= room => {
                    bytes.resize(before + span.len as usize, 0);
                    let read = read_cached(file, &mut bytes[before..], span.start);
                    if read as u64 != span.len {
                        bytes.truncate(before);
                        break;
                    }
                }
                _ => break,
            }
            self.parts.pop();
        }
        let mut chunk = Chunk::of(bytes);
        // After less a part follows that has a pause of its own.
        if chunk.len() > SMALL / 2 && !self.parts.is_empty() {
            self.pause = Some(chunk.pause());
        }
        Bytes::from_owner(chunk)
    }

    /// Memory for the begin of a span.
    fn begin(&mut self, span: Span) -> Chunk {
        let chunk = Chunk::new(span);
        self.rest(span, chunk.len());
        chunk
    }

    /// What of the span is not taken stays the next piece.
    fn rest(&mut self, span: Span, taken: usize) {
        let taken = taken as u64;
        if taken < span.len {
            self.parts.put_back(BodyPiece::Span(Span {
                start: span.start + taken,
                len: span.len - taken,
            }));
        }
    }

    fn ask_disk(&mut self, file: Arc<File>, mut chunk: Chunk, start: u64, cached: usize) {
        self.read = Some(tokio::task::spawn_blocking(move || {
            file.read_exact_at(&mut chunk.room()[cached..], start + cached as u64)?;
            Ok(chunk)
        }));
    }

    /// Reads the next chunk before it is asked for, unless memory is short.
    fn read_ahead(&mut self) {
        let (Source::File(file, _), Some(BodyPiece::Span(span))) =
            (&self.content, self.parts.front())
        else {
            return;
        };
        if SENDING.available_permits() > 0 {
            let (file, span) = (Arc::clone(file), *span);
            self.parts.pop();
            let chunk = self.begin(span);
            self.ask_disk(file, chunk, span.start, 0);
        }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some(pause) = this.pause.as_mut() {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        if this.read.is_none() {
            match this.next() {
                Next::Ready(data) => {
                    this.left = this.left.saturating_sub(data.len() as u64);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Next::End => return Poll::Ready(None),
                Next::Reading => {}
            }
        }
        let Some(read) = this.read.as_mut() else {
            return Poll::Ready(None);
        };
        let chunk = ready!(Pin::new(read).poll(cx));
        this.read = None;
        match chunk.map_err(io::Error::other).flatten() {
            Ok(mut chunk) => {
                this.left = this.left.saturating_sub(chunk.len() as u64);
                this.read_ahead();
                if !this.is_end_stream() {
                    this.pause = Some(chunk.pause());
                }
                let data = Bytes::from_owner(chunk);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(error) => {
                tracing::error!(%error, "reading a content file failed while it was being sent");
                this.parts.clear();
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// All of a body, each frame dropped as a connection does that has sent it.
#[cfg(test)]
pub async fn sent(mut body: Body) -> Vec<u8> {
    use http_body_util::BodyExt as _;
    let mut sent = Vec::new();
    while let Some(frame) = body.frame().await {
        sent.extend_from_slice(frame.expect("read").data_ref().expect("data"));
    }
    sent
}

#[cfg(test)]
mod tests;
