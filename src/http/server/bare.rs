//! Answers that hyper writes by itself, to heads that it cannot read: they get what every answer has.
//!
//! hyper has no place to say it. Such an answer is a head alone, written in one piece while no request is under way on its
//! connection; nothing else that is written is ever looked into.

use crate::http::server::connections::Link;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const LINE: &[u8] = b"x-content-type-options: nosniff\r\n";
const END: &[u8] = b"\r\n\r\n";

/// Wraps a connection's input and output.
pub struct Bare<T> {
    io: T,
    link: Arc<Link>,
    /// An answer with its line, and how much of it is written.
    pending: Vec<u8>,
    written: usize,
    /// The last piece was written to its end: the next one is the begin of something.
    whole: bool,
}

impl<T> Bare<T> {
    /// `link` knows whether a request is under way.
    pub fn new(io: T, link: Arc<Link>) -> Self {
        Self {
            io,
            link,
            pending: Vec::new(),
            written: 0,
            whole: true,
        }
    }

    /// The answer with its line, if `piece` is one of hyper's own.
    fn amended(&self, piece: &[u8]) -> Option<Vec<u8>> {
        let refuses = piece.starts_with(b"HTTP/1.") && matches!(piece.get(9), Some(b'4' | b'5'));
        if !refuses || !self.whole || !self.link.is_idle() {
            return None;
        }
        let end = piece.windows(END.len()).position(|w| w == END)?;
        let head = piece.get(..end + 2)?;
        let ours = |line: &[u8]| {
            line.to_ascii_lowercase()
                .starts_with(b"x-content-type-options:")
        };
        if end + END.len() != piece.len() || head.split(|b| *b == b'\n').any(ours) {
            return None;
        }
        Some([head, LINE, b"\r\n"].concat())
    }
}

impl<T: AsyncWrite + Unpin> Bare<T> {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.pending.get(self.written..).filter(|r| !r.is_empty()) {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.pending = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Bare<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Bare<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(cx))?;
        if let Some(answer) = self.amended(piece) {
            // Taken as written: what the socket has no room for goes with the next call, which is a flush at the latest.
            self.pending = answer;
            return match self.poll_pending(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(piece.len())),
            };
        }
        let n = ready!(Pin::new(&mut self.io).poll_write(cx, piece))?;
        self.whole = n == piece.len();
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [piece] = pieces {
            return self.poll_write(cx, piece);
        }
        ready!(self.poll_pending(cx))?;
        let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, pieces))?;
        self.whole = n == pieces.iter().map(|p| p.len()).sum::<usize>();
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::server::connections::{Connections, Use};

    #[test]
    fn only_a_bare_refusal_without_a_request_is_amended() {
        let all = Connections::new(9);
        let entry = all.enter([192, 0, 2, 1].into(), 9).expect("entered");
        let mut bare = Bare::new((), Arc::clone(&entry.link));
        let plain = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let with = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-content-type-options: nosniff\r\n\r\n";
        assert_eq!(bare.amended(plain).as_deref(), Some(&with[..]));
        for other in [
            &with[..],
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\n{}",
            b"4",
        ] {
            assert_eq!(bare.amended(other), None);
        }
        let request = Use::begin(&entry.link);
        assert_eq!(bare.amended(plain), None);
        drop(request);
        bare.whole = false;
        assert_eq!(bare.amended(plain), None);
    }
}
