//! Log lines on their way to stderr: access lines are gathered for a moment and written by a thread of its own, as a system
//! call for each costs more than all else about it, and a reader that is slow to take them would stop the server.
//!
//! Any other line is written at once, with what came before it. What finds no room is counted and told of.

use super::access::ACCESS;
use std::io::{self, ErrorKind, Write};
use std::mem::take;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// An access line waits no longer than this for others.
const WAIT: Duration = Duration::from_millis(20);
/// So many bytes are written without more waiting.
const MUCH: usize = 64 << 10;
/// What waits at most for a reader that takes nothing.
const MOST: usize = 1 << 20;
/// More of it for all but access lines.
const URGENT: usize = 64 << 10;
/// At the end a reader that takes nothing gets no more time than this.
const LAST: Duration = Duration::from_secs(2);

static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines that found no room since the start of the process.
pub fn lost_lines() -> u64 {
    LOST.load(Relaxed)
}

/// Takes lines; cheap to clone.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    lost: u64,
    urgent: bool,
    ended: bool,
}

impl Waiting {
    fn is_due(&self) -> bool {
        self.urgent || self.ended || self.text.len() >= MUCH
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.lost == 0
    }
}

/// The thread that writes; when this is dropped, all lines so far are written, if somebody takes them.
pub struct Log {
    lines: Lines,
    /// Ends with the thread.
    thread: Receiver<()>,
}

impl Lines {
    /// Lines that are written to `out`.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Self, Log)> {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        let (ends, thread) = mpsc::channel();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                let _until_the_end = ends;
                shared.write(out);
            })?;
        let log = Log {
            lines: lines.clone(),
            thread,
        };
        Ok((lines, log))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8], urgent: bool) {
        let mut waiting = self.lock();
        if waiting.ended {
            drop(waiting);
            // As every program without a log thread; there is nobody to tell of a failure.
            let _ = io::stderr().write_all(line);
            return;
        }
        let most = if urgent { MOST + URGENT } else { MOST };
        let before = (waiting.is_empty(), waiting.is_due());
        if waiting.text.len() + line.len() > most {
            waiting.lost += 1;
            LOST.fetch_add(1, Relaxed);
        } else {
            waiting.text.extend_from_slice(line);
            waiting.urgent |= urgent;
        }
        let now = (waiting.is_empty(), waiting.is_due());
        drop(waiting);
        if now != before {
            self.changed.notify_one();
        }
    }

    /// Waits for lines, and a moment for more of them; `None`: there will be none.
    fn next(&self) -> Option<(Vec<u8>, u64)> {
        let mut waiting = self.lock();
        while waiting.is_empty() {
            if waiting.ended {
                return None;
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let end = Instant::now() + WAIT;
        while !waiting.is_due() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.urgent = false;
        Some((take(&mut waiting.text), take(&mut waiting.lost)))
    }

    fn write(&self, mut out: impl Write) {
        while let Some((mut text, mut lost)) = self.next() {
            lost += write(&mut out, &text);
            if lost > 0 {
                tracing::warn!(
                    lines = lost,
                    "log lines were lost here: they could not be written, or whoever reads them was too slow"
                );
            }
            text.clear();
            self.give_back(text);
        }
    }

    /// Memory for the next lines, unless there is some by now, or it is much.
    fn give_back(&self, text: Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.text.capacity() == 0 && text.capacity() <= 4 * MUCH {
            waiting.text = text;
        }
    }
}

/// Writes all of it, also where that means to wait; answers how many lines an error took.
fn write(out: &mut impl Write, text: &[u8]) -> u64 {
    let mut rest = text;
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A pipe that another program made so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(WAIT),
            Ok(_) | Err(_) => break,
        }
    }
    let lost = rest.split(|byte| *byte == b'\n').skip(1).count() as u64;
    LOST.fetch_add(lost, Relaxed);
    lost
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.0.lock().ended = true;
        self.lines.0.changed.notify_one();
        // Nothing is ever sent: it ends, or the time does.
        let _ = self.thread.recv_timeout(LAST);
    }
}

/// One line.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    urgent: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            lines: self,
            urgent: true,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line {
            lines: self,
            urgent: metadata.target() != ACCESS,
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.0.push(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes each write only once it is let to, and tells of it.
    struct Slow {
        leave: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // Without its other end it takes all at once.
            let _ = self.leave.recv();
            let told = self.written.send(String::from_utf8_lossy(text).into());
            told.map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Lines, Log, Sender<()>, Receiver<String>) {
        let ((let_go, leave), (written, seen)) = (channel(), channel());
        let (lines, log) = Lines::start(Slow { leave, written }).unwrap();
        (lines, log, let_go, seen)
    }

    /// Has the thread write a line: what comes now waits until that is done.
    fn begin(lines: &Lines) {
        lines.0.push(b"begin\n", true);
        while !lines.0.lock().text.is_empty() {
            thread::yield_now();
        }
    }

    #[test]
    fn lines_are_written_together_and_in_order() {
        let (lines, log, let_go, seen) = slow();
        drop(let_go);
        for n in 0..100 {
            lines.0.push(format!("{n}\n").as_bytes(), n == 99);
        }
        lines.0.push(b"last\n", false);
        drop(log);
        let writes: Vec<String> = seen.try_iter().collect();
        let all: Vec<String> = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(writes.concat(), all.concat() + "last\n");
        assert!(writes.len() <= 50, "{} writes", writes.len());
    }

    #[test]
    fn one_line_waits_for_nobody() {
        let (lines, _log, let_go, seen) = slow();
        drop(let_go);
        lines.0.push(b"one\n", false);
        assert_eq!(seen.recv().unwrap(), "one\n");
    }

    #[test]
    fn only_access_lines_wait_for_others() {
        let (lines, _log, _let_go, _seen) = slow();
        begin(&lines);
        lines.0.push(b"access\n", false);
        assert!(!lines.0.lock().is_due());
        lines.0.push(b"warning\n", true);
        assert!(lines.0.lock().is_due());
        assert_eq!(lines.0.lock().text, b"access\nwarning\n");
    }

    /// A pipe that does not block, and has room for ten bytes at a time; then a disk that is full.
    struct Full(Vec<u8>, bool);

    impl Write for Full {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            match (self.1, self.0.len()) {
                (true, _) => Err(ErrorKind::WouldBlock.into()),
                (_, 25..) => Err(ErrorKind::StorageFull.into()),
                _ => {
                    let (now, _) = text.split_at(text.len().min(10));
                    self.0.extend(now);
                    Ok(now.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let mut out = Full(Vec::new(), false);
        assert_eq!(write(&mut out, b"a line of 18 bytes\n"), 0);
        assert_eq!(write(&mut out, b"and one more\ntwo\nthree\n"), 3);
        assert_eq!(out.0, b"a line of 18 bytes\nand one mo");
    }

    #[test]
    fn a_stuck_reader_does_not_hold_up_the_end() {
        let (lines, log, let_go, _seen) = slow();
        lines.0.push(b"never taken\n", true);
        let begin = Instant::now();
        drop(log);
        assert!(begin.elapsed() >= LAST && begin.elapsed() < 60 * LAST);
        drop(let_go);
    }

    #[test]
    fn who_reads_nothing_stops_nobody_and_takes_no_more_than_there_is() {
        let (lines, log, let_go, seen) = slow();
        begin(&lines);
        let line = [b'x'; 1024];
        for _ in 0..2 * MOST / line.len() {
            lines.0.push(&line, false);
        }
        lines.0.push(b"error\n", true);
        let waiting = lines.0.lock();
        assert_eq!(waiting.text.len(), MOST + 6);
        assert_eq!(waiting.lost, (MOST / line.len()) as u64);
        drop(waiting);
        assert!(lost_lines() >= (MOST / line.len()) as u64);
        drop(let_go);
        drop(log);
        let all: String = seen.try_iter().collect();
        assert!(all.starts_with("begin\nxxx") && all.ends_with("xerror\n"));
    }
}
