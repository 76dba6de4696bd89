//! Parts of files that the kernel sends by itself (`sendfile(2)`), on connections of plain HTTP/1.1.
//!
//! hyper knows bytes only. So a body gives it stand-ins, of the right length and in memory that nobody ever reads, and puts
//! into the connection's outbox which part of which file each stands for; where hyper writes a stand-in, [`Sending`] has
//! the kernel send the part. A stand-in's own bytes must never reach a client: one that is dropped before all of its part
//! is sent (as something copied it) breaks the connection.
//!
//! Owns the order of parts on a connection, and what is asked of the kernel's memory of files. Must not know what an answer
//! is, nor hold bytes of files.

use crate::types::Span;
use axum::body::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The longest part.
pub const PART: usize = 1 << 20;
/// Of a part the kernel is asked for one byte in so many whether it has it in memory: a microsecond each.
const STEP: usize = 256 * 1024;
/// What is read and sent at once where the kernel does not send files.
const COPIED: usize = 16 * 1024;
/// What stand-ins are slices of, told from all other bytes by its address. The kernel gives no memory for what nobody reads.
static NOWHERE: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; PART]);

/// Parts of files that a connection has still to send, in the order of their stand-ins.
#[derive(Clone, Default)]
pub struct Outbox {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    parts: VecDeque<Part>,
    /// Parts that were sent to their end.
    sent: u64,
    /// A stand-in is gone, its part is not sent.
    broken: bool,
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
    /// At most [`PART`].
    len: usize,
    outbox: Outbox,
}

impl Outbox {
    /// Bytes for hyper that stand for the begin of a span of the file, [`PART`] at most. They must be written in the order
    /// in which they were put, and dropped no sooner: of a part only the length is compared.
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
            outbox: self.clone(),
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
            let len = len.min(part.len);
            part.start += len as u64;
            part.len -= len;
            if part.len == 0 {
                queue.parts.pop_front();
                queue.sent += 1;
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
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
        let mut queue = self.outbox.queue();
        queue.broken |= queue.sent <= self.number;
    }
}

fn stands_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && NOWHERE.as_ptr_range().contains(&bytes.as_ptr())
}

/// No client can bring this about.
fn broken() -> io::Error {
    tracing::error!("a part of a file was to be sent and was not: its connection ends");
    io::Error::other("a part of a file was not sent")
}

/// How many bytes from `start` the kernel has in memory; those are read.
pub fn read_cached(file: &File, to: &mut [u8], start: u64) -> usize {
    let mut to = [IoSliceMut::new(to)];
    // Also a file system that cannot tell has none.
    rustix::io::preadv2(file, &mut to, start, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

/// Whether the kernel has in memory, as far as some bytes tell, what [`Outbox::put`] would take of the span.
pub fn is_cached(file: &File, span: Span) -> bool {
    let end = span.start + span.len.min(PART as u64);
    (span.start..end)
        .step_by(STEP)
        .chain(end.checked_sub(1))
        .all(|at| read_cached(file, &mut [0], at) == 1)
}

impl Part {
    /// Sends what the socket takes; how many bytes that were.
    fn send(&self, tcp: &TcpStream) -> io::Result<usize> {
        let mut start = self.start;
        match rustix::fs::sendfile(tcp, &self.file, Some(&mut start), self.len) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(sent) => Ok(sent),
            // Not of this file system, not in this jail, or not now.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::NOMEM) => {
                self.copy(tcp)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Has the kernel read all of it.
    fn fetch(&self) {
        let mut bytes = vec![0; STEP.min(self.len)];
        let end = self.start + self.len as u64;
        for at in (self.start..end).step_by(STEP) {
            if self.file.read_at(&mut bytes, at).is_err() {
                return;
            }
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
    /// The client was waited for: what is left of the first part may have left memory since.
    waited: bool,
    /// It is brought there again.
    fetching: Option<JoinHandle<()>>,
}

impl Sending {
    /// The connection, and where bodies put what it is to send.
    pub fn new(tcp: TcpStream) -> (Self, Outbox) {
        let outbox = Outbox::default();
        let shared = outbox.clone();
        let sending = Self {
            tcp,
            outbox,
            waited: false,
            fetching: None,
        };
        (sending, shared)
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

    fn poll_part(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<usize>> {
        let part = self.outbox.first(left)?;
        ready!(self.poll_fetched(cx, &part));
        let polled = self.poll_send(cx, |tcp| part.send(tcp));
        self.waited = polled.is_pending();
        let sent = ready!(polled);
        match &sent {
            Ok(sent) => self.outbox.sent(*sent),
            Err(error) if of_the_file(error) => {
                tracing::error!(%error, "reading a content file failed while it was being sent");
            }
            Err(_) => {}
        }
        Poll::Ready(sent)
    }

    /// What is to be sent is in memory, or the disk is waited for elsewhere.
    fn poll_fetched(&mut self, cx: &mut Context<'_>, part: &Part) -> Poll<()> {
        let fetching = match &mut self.fetching {
            Some(fetching) => fetching,
            None if !self.waited || read_cached(&part.file, &mut [0], part.start) == 1 => {
                return Poll::Ready(());
            }
            none => {
                let part = part.clone();
                none.insert(tokio::task::spawn_blocking(move || part.fetch()))
            }
        };
        // Whether it could be read or not, sending tells.
        let _ = ready!(Pin::new(fetching).poll(cx));
        self.fetching = None;
        Poll::Ready(())
    }
}

/// Whether it was the file that failed, and not the client that went away.
fn of_the_file(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    !matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    )
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
        if self.outbox.queue().broken {
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
mod tests;
