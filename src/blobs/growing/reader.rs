//! One reader of content that comes.

use super::{Growing, GrowingError};
use bytes::Bytes;
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Most bytes that one call of [`GrowingReader::next`] reads.
const PIECE: usize = 256 << 10;

/// Bytes of the content, where they lie.
#[derive(Debug, Clone)]
pub enum GrowingPart {
    /// `len` bytes of the file from offset `from` on. The file is the reader's own; to be read at offsets, or sent by the kernel.
    File {
        /// The file. It may be longer; what lies behind is not to be read.
        file: Arc<File>,
        /// Offset in bytes.
        from: u64,
        /// Number of bytes; at least 1.
        len: u64,
    },
    /// These bytes.
    Memory(Bytes),
}

/// Reads a range of content while it comes. Each call can be dropped and made again: nothing is lost by that.
#[derive(Debug)]
pub struct GrowingReader {
    growing: Growing,
    /// What is not read yet.
    range: Range<u64>,
    /// A descriptor of this reader alone, from its first bytes in the file on.
    file: Option<Arc<File>>,
}

/// What can be had next.
enum Next {
    /// So many bytes of this file.
    File(Arc<File>, u64),
    Memory(Bytes),
    /// Nothing more, ever.
    End,
}

impl GrowingReader {
    pub(super) fn new(growing: Growing, range: Range<u64>) -> Self {
        Self {
            growing,
            range,
            file: None,
        }
    }

    /// Offset of the next byte.
    pub fn at(&self) -> u64 {
        self.range.start
    }

    /// See [`Growing::len_known`].
    pub fn len_known(&self) -> Option<u64> {
        self.growing.len_known()
    }

    /// See [`Growing::wait_len`].
    pub async fn wait_len(&self) -> Result<u64, GrowingError> {
        self.growing.wait_len().await
    }

    /// The next bytes, at most `max` and 256 KiB; waits until there are some. `None` at the end of the range, and at that of
    /// the content once it is known to be right.
    ///
    /// # Errors
    /// The content will not be whole, also where bytes of it were not read yet; [`GrowingError::Read`] where only this reader failed.
    pub async fn next(&mut self, max: usize) -> Result<Option<Bytes>, GrowingError> {
        let bytes = match self.wait_next(max.min(PIECE) as u64).await? {
            Next::File(shared, len) => {
                let file = self.own_file(shared).await?;
                read(file, self.range.start, len as usize).await?
            }
            Next::Memory(bytes) => bytes,
            Next::End => return Ok(None),
        };
        self.range.start += bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// The same, not read: where the next bytes lie, for who can send a part of a file.
    pub async fn next_part(&mut self, max: u64) -> Result<Option<GrowingPart>, GrowingError> {
        let from = self.range.start;
        let (part, len) = match self.wait_next(max).await? {
            Next::File(shared, len) => {
                let file = self.own_file(shared).await?;
                (GrowingPart::File { file, from, len }, len)
            }
            Next::Memory(bytes) => {
                let len = bytes.len() as u64;
                (GrowingPart::Memory(bytes), len)
            }
            Next::End => return Ok(None),
        };
        self.range.start += len;
        Ok(Some(part))
    }

    /// Waits until there is a byte to read or there will be none.
    async fn wait_next(&mut self, max: u64) -> Result<Next, GrowingError> {
        loop {
            if let Some(next) = self.try_next(max.max(1))? {
                return Ok(next);
            }
            if self.growing.told.changed().await.is_err() {
                // Its writer tells the outcome before it goes.
                return self.try_next(max.max(1))?.ok_or(GrowingError::CutOff);
            }
        }
    }

    fn try_next(&mut self, max: u64) -> Result<Option<Next>, GrowingError> {
        let Range { start, end } = self.range;
        let told = self.growing.told.borrow_and_update();
        if let Some(Err(error)) = &told.outcome {
            return Err(error.clone());
        }
        let to = told.readable(self.growing.len).min(end);
        let left = to.saturating_sub(start).min(max);
        if left == 0 {
            return Ok((start >= end || told.outcome.is_some()).then_some(Next::End));
        }
        if start >= told.in_file {
            let from = (start - told.in_file) as usize;
            let bytes = told.rest.slice(from..from + left as usize);
            return Ok(Some(Next::Memory(bytes)));
        }
        let file = told.file.clone();
        let file = file.ok_or_else(|| GrowingError::Read("it has no file".into()))?;
        let len = left.min(told.in_file - start);
        Ok(Some(Next::File(file, len)))
    }
}

impl GrowingReader {
    /// A descriptor of this reader's own: the kernel reads ahead for each by itself.
    async fn own_file(&mut self, shared: Arc<File>) -> Result<Arc<File>, GrowingError> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let opened = blocking(move || opened(&shared)).await?;
        Ok(Arc::clone(self.file.insert(Arc::new(opened))))
    }
}

/// The same file, opened anew: by its descriptor, since its name may have gone. Where `/proc` is not to be had, a copy of the
/// descriptor is as good for reads at offsets.
fn opened(shared: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => shared.try_clone(),
        opened => opened,
    }
}

/// Up to `len` bytes from offset `from` on, at least one. What the kernel has in memory is read here, since most readers follow the
/// writer closely; a thread for blocking work reads only what it has not.
async fn read(file: Arc<File>, from: u64, len: usize) -> Result<Bytes, GrowingError> {
    let mut bytes = vec![0; len];
    let mut to = [IoSliceMut::new(&mut bytes)];
    // A file system that cannot tell has none.
    let now = rustix::io::preadv2(&*file, &mut to, from, ReadWriteFlags::NOWAIT).unwrap_or(0);
    if now > 0 {
        bytes.truncate(now);
        return Ok(bytes.into());
    }
    let read = move || {
        file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    };
    blocking(read).await.map(Bytes::from)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, GrowingError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|e| Err(io::Error::other(e)));
    done.map_err(|e| GrowingError::Read(e.to_string().into()))
}
