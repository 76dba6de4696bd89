//! Parts of files that the kernel sends by itself (`sendfile(2)`), on connections of plain HTTP/1.1.
//!
//! hyper knows bytes only. So a body gives it stand-ins, of the right length and in memory that nobody ever reads, and puts
//! into the connection's outbox which part of which file each stands for; where hyper writes a stand-in, [`Sending`] has
//! the kernel send the part. A stand-in's own bytes must never reach a client: one that is dropped before all of its part
//! is sent (as something copied it) breaks the connection.

use crate::types::Span;
use axum::body::Bytes;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The longest part.
pub const PART: usize = 1 << 20;
/// What is read and sent at once where the kernel does not send files.
const COPIED: usize = 16 * 1024;
/// What stand-ins are slices of: known by its address, so not a `const`.
static NOWHERE: [u8; PART] = [0; PART];

/// Parts of files that a connection has still to send, in the order of their stand-ins.
#[derive(Clone, Default)]
pub struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A stand-in is gone, its part is not sent.
    broken: AtomicBool,
}

#[derive(Default)]
struct Queue {
    parts: VecDeque<Part>,
    /// Parts that were sent to their end.
    sent: u64,
}

/// What is left of a part.
#[derive(Clone)]
struct Part {
    file: Arc<File>,
    start: u64,
    len: usize,
}

struct StandIn {
    /// Parts before this one.
    number: u64,
    len: usize,
    shared: Arc<Shared>,
}

impl Outbox {
    /// Bytes for hyper that stand for the begin of a span of the file, [`PART`] at most.
    pub fn put(&self, file: &Arc<File>, span: Span) -> Bytes {
        let len = usize::try_from(span.len).map_or(PART, |len| len.min(PART));
        let mut queue = self.queue();
        let number = queue.sent + queue.parts.len() as u64;
        queue.parts.push_back(Part {
            file: Arc::clone(file),
            start: span.start,
            len,
        });
        drop(queue);
        Bytes::from_owner(StandIn {
            number,
            len,
            shared: Arc::clone(&self.shared),
        })
    }

    /// The part that a stand-in of which so much is left stands for.
    fn first(&self, left: usize) -> io::Result<Part> {
        let part = self.queue().parts.front().cloned();
        part.filter(|part| part.len == left).ok_or_else(broken)
    }

    fn sent(&self, len: usize) {
        let mut queue = self.queue();
        if let Some(part) = queue.parts.front_mut() {
            part.start += len as u64;
            part.len -= len.min(part.len);
            if part.len == 0 {
                queue.parts.pop_front();
                queue.sent += 1;
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for StandIn {
    fn as_ref(&self) -> &[u8] {
        &NOWHERE[..self.len]
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if self.shared.lock().sent <= self.number {
            self.shared.broken.store(true, Ordering::Release);
        }
    }
}

fn stands_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && NOWHERE.as_ptr_range().contains(&bytes.as_ptr())
}

fn broken() -> io::Error {
    io::Error::other("a part of a file was to be sent, and was not")
}

impl Part {
    /// Sends what the socket takes; how many bytes that were.
    fn send(&self, tcp: &TcpStream) -> io::Result<usize> {
        let mut start = self.start;
        match rustix::fs::sendfile(tcp, &self.file, Some(&mut start), self.len) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(sent) => Ok(sent),
            // Not of this file system, or not in this jail.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => self.copy(tcp),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Part::send`], by reading.
    fn copy(&self, tcp: &TcpStream) -> io::Result<usize> {
        let mut bytes = [0; COPIED];
        let read = self
            .file
            .read_at(&mut bytes[..self.len.min(COPIED)], self.start)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(rustix::net::send(tcp, &bytes[..read], SendFlags::NOSIGNAL)?)
    }
}

/// A TCP connection that sends parts of files where their stand-ins are written.
pub struct Sending {
    tcp: TcpStream,
    outbox: Outbox,
}

impl Sending {
    /// The connection, and where bodies put what it is to send.
    pub fn new(tcp: TcpStream) -> (Self, Outbox) {
        let outbox = Outbox::default();
        let shared = outbox.clone();
        (Self { tcp, outbox }, shared)
    }

    /// Calls `send` whenever the socket may take bytes, until it does.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            let done = self.tcp.try_io(Interest::WRITABLE, || send(&self.tcp));
            match done {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_part(&self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<usize>> {
        let part = self.outbox.first(left)?;
        let sent = ready!(self.poll_send(cx, |tcp| part.send(tcp)));
        match &sent {
            Ok(sent) => self.outbox.sent(*sent),
            Err(error) if of_the_file(error) => {
                tracing::error!(%error, "reading a content file failed while it was being sent");
            }
            Err(_) => {}
        }
        Poll::Ready(sent)
    }
}

/// Whether it was the file that failed, and not the client that went away.
fn of_the_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Bytes that go before a part, so that they need no packet of their own.
fn send_before(tcp: &TcpStream, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    let mut control = SendAncillaryBuffer::default();
    Ok(rustix::net::sendmsg(tcp, bytes, &mut control, flags)?)
}

impl AsyncRead for Sending {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Sending {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.outbox.shared.broken.load(Ordering::Acquire) {
            return Poll::Ready(Err(broken()));
        }
        let Some(at) = bufs.iter().position(|bytes| stands_in(bytes)) else {
            return Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        };
        if bufs[..at].iter().all(|bytes| bytes.is_empty()) {
            return self.poll_part(cx, bufs[at].len());
        }
        self.poll_send(cx, |tcp| send_before(tcp, &bufs[..at]))
    }

    fn is_write_vectored(&self) -> bool {
        // Else hyper copies what it writes into one piece.
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn file(bytes: &[u8]) -> Arc<File> {
        let file = tempfile::tempfile().expect("file");
        file.write_all_at(bytes, 0).expect("written");
        Arc::new(file)
    }

    async fn connection() -> (Sending, Outbox, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let addr = listener.local_addr().expect("address");
        let client = TcpStream::connect(addr).await.expect("connected");
        let (tcp, _) = listener.accept().await.expect("accepted");
        let (sending, outbox) = Sending::new(tcp);
        (sending, outbox, client)
    }

    /// As hyper writes: all that there is at once, again and again.
    async fn write(io: &mut Sending, mut bufs: Vec<Bytes>) -> io::Result<()> {
        while !bufs.is_empty() {
            let slices: Vec<_> = bufs.iter().map(|b| IoSlice::new(b)).collect();
            let mut n = io.write_vectored(&slices).await?;
            while n > 0 {
                let taken = n.min(bufs[0].len());
                let _ = bufs[0].split_to(taken);
                n -= taken;
                if bufs[0].is_empty() {
                    bufs.remove(0);
                }
            }
        }
        Ok(())
    }

    fn span(start: usize, len: usize) -> Span {
        Span {
            start: start as u64,
            len: len as u64,
        }
    }

    #[tokio::test]
    async fn parts_come_between_bytes() {
        let bytes: Vec<u8> = (0..3 * PART).map(|n| (n % 251) as u8).collect();
        let file = file(&bytes);
        let (mut io, outbox, mut client) = connection().await;
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.map(|_| got)
        });
        let text = Bytes::from_static(b"--");
        let long = outbox.put(&file, span(5, 3 * PART - 5));
        assert_eq!(long.len(), PART);
        let bufs = vec![
            text.clone(),
            long,
            outbox.put(&file, span(7, 9)),
            text.clone(),
        ];
        write(&mut io, bufs).await.expect("sent");
        write(&mut io, vec![outbox.put(&file, span(0, PART)), text])
            .await
            .expect("sent");
        drop(io);
        let got = reading.await.expect("ended").expect("read");
        let want = [
            b"--",
            &bytes[5..PART + 5],
            &bytes[7..16],
            b"--",
            &bytes[..PART],
            b"--",
        ]
        .concat();
        assert!(got == want);
    }

    #[tokio::test]
    async fn what_was_copied_from_a_stand_in_is_not_sent() {
        let (mut io, outbox, mut client) = connection().await;
        let copy = outbox.put(&file(b"0123456789"), span(0, 10)).to_vec();
        assert!(io.write_all(&copy).await.is_err());
        drop(io);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("read");
        assert_eq!(got, b"");
    }

    #[tokio::test]
    async fn a_short_file_is_an_error() {
        let (mut io, outbox, _client) = connection().await;
        let part = outbox.put(&file(b"0123456789"), span(5, 10));
        let error = write(&mut io, vec![part]).await.expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_part_can_be_copied() {
        let (io, _, mut client) = connection().await;
        let part = Part {
            file: file(b"0123456789"),
            start: 2,
            len: 5,
        };
        assert_eq!(part.copy(&io.tcp).expect("sent"), 5);
        drop(io);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("read");
        assert_eq!(got, b"23456");
    }
}
