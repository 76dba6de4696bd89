//! Reading ahead below TLS: rustls asks its socket for 4 KiB at a time, which for a large push is a system call for every
//! 4 KiB. While bytes come in bulk they are fetched in larger pieces; an idle connection keeps no buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes fetched in one call while they come in bulk.
const PIECE: usize = 64 * 1024;

/// A stream whose reads are gathered while they are many; writes go through as they are.
#[derive(Debug)]
pub struct ReadAhead<S> {
    inner: S,
    buffer: Vec<u8>,
    at: usize,
    /// The last read filled all that was asked for: more is likely there.
    bulk: bool,
}

impl<S> ReadAhead<S> {
    /// Nothing is read before it is asked for.
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            at: 0,
            bulk: false,
        }
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    /// Fills the empty buffer; gives it back where there is nothing to wait with.
    fn fetch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffer.resize(PIECE, 0);
        self.at = 0;
        let mut piece = ReadBuf::new(&mut self.buffer);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut piece);
        let got = piece.filled().len();
        self.buffer.truncate(got);
        self.bulk = got == PIECE || (polled.is_ready() && self.bulk && got > PIECE / 4);
        if got == 0 {
            self.buffer = Vec::new();
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at >= this.buffer.len() {
            if !this.bulk {
                this.buffer = Vec::new();
                let wanted = buf.remaining();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                this.bulk = wanted > 0 && buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            ready!(this.fetch(cx))?;
        }
        let there = this.buffer.get(this.at..).unwrap_or_default();
        let take = there.len().min(buf.remaining());
        buf.put_slice(&there[..take]);
        this.at += take;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn bytes_come_whole_whatever_is_asked_for() {
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut from, to) = tokio::io::duplex(100_000);
        let text = sent.clone();
        let sender = tokio::spawn(async move {
            for piece in text.chunks(70_001) {
                from.write_all(piece).await.expect("sent");
            }
        });
        let mut ahead = ReadAhead::new(to);
        let (mut got, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let n = ahead.read(&mut piece).await.expect("read");
            if n == 0 {
                break;
            }
            got.extend_from_slice(&piece[..n]);
        }
        sender.await.expect("sender");
        assert_eq!(got, sent);
        assert_eq!(ahead.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn small_messages_need_no_buffer() {
        let (mut from, to) = tokio::io::duplex(1000);
        let mut ahead = ReadAhead::new(to);
        let mut piece = [0; 4096];
        for _ in 0..3 {
            from.write_all(b"hello").await.expect("sent");
            assert_eq!(ahead.read(&mut piece).await.expect("read"), 5);
            assert_eq!(ahead.buffer.capacity(), 0);
        }
    }
}
