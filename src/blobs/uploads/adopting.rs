//! Content from a file that somebody else opened and handed over.
//!
//! The source is only read, and never believed: others may write to it at any time. Where the file system can, its bytes are
//! shared by a clone, which nobody else can write to (`FICLONE`), and the clone is hashed; else they are copied, and hashed from
//! the memory from which they are written. So the digest is always of our own file. What a source must be is said at [`check`].

use super::upload::Upload;
use crate::blobs::files::Files;
use crate::blobs::folders::is_hollow;
use crate::blobs::place::UploadName;
use crate::blobs::{BlobError, Buffer, Ingest};
use crate::datadir;
use crate::types::Hasher;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes that are read, written and hashed at a time.
const PIECE: usize = 2 << 20;

/// Content that is taken over from a file, step by step. Dropping it leaves its file, as every upload does, to be discarded.
pub struct Adopting {
    upload: Upload,
    hasher: Hasher,
    source: Arc<File>,
    len: u64,
    /// So many bytes are in our own file, or in memory, and hashed.
    at: u64,
    /// Our own file shares the bytes of the source already.
    cloned: bool,
    /// What bytes are copied through; kept from step to step, as new memory must be cleared.
    pieces: Option<[Buffer; 2]>,
}

/// What a step of [`Adopting`] came to.
pub enum Adopted {
    /// All bytes are there and hashed, like those of any upload.
    Whole(Box<Ingest>),
    /// There is more to do.
    Part(Box<Adopting>),
}

impl Adopted {
    /// Bytes that are taken over.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Whole(ingest) => ingest.offset(),
            Self::Part(rest) => rest.at,
        }
    }
}

impl Adopting {
    /// Most bytes that one of these has in memory.
    pub const MEMORY: usize = 2 * PIECE;

    /// The first `len` bytes of `source`, from its start.
    pub(in crate::blobs) fn begin(
        files: Arc<Files>,
        name: UploadName,
        owner: Option<Arc<str>>,
        source: Arc<File>,
        len: u64,
    ) -> Result<Self, BlobError> {
        check(&source, len)?;
        // Also for a clone: as soon as the source is written to, it needs room of its own.
        files.room_for(len)?;
        let mut upload = Upload::new(files, name);
        upload.owner = owner;
        let (upload, cloned) = if len > upload.files.options.inline_max {
            clone(upload, &source, len)?
        } else {
            (upload, false)
        };
        Ok(Self {
            upload,
            hasher: Hasher::new(name.algorithm),
            source,
            len,
            at: 0,
            cloned,
            pieces: None,
        })
    }

    /// Whether the bytes are shared with the source instead of copied.
    pub fn is_cloned(&self) -> bool {
        self.cloned
    }

    /// Takes at most so many bytes more, and whole pieces. Blocks for as long as reading, hashing and writing them takes. After
    /// an error nothing is left.
    pub fn step(mut self, most: u64) -> Result<Adopted, BlobError> {
        let to = self.len.min(self.at.saturating_add(most));
        let stepped = if self.cloned {
            self.hash_to(to)
        } else {
            self.copy_to(to)
        };
        if let Err(error) = stepped {
            // The sender must hear of it first; what cannot be removed is reaped with the idle ones.
            let _ = self.upload.files.discard(self.upload.name);
            return Err(error);
        }
        if self.at < self.len {
            return Ok(Adopted::Part(Box::new(self)));
        }
        let bytes_in = &self.upload.files.counts.bytes_in;
        bytes_in.fetch_add(self.len, Ordering::Relaxed);
        let ingest = Ingest::adopted(self.upload, self.hasher);
        Ok(Adopted::Whole(Box::new(ingest)))
    }

    fn hash_to(&mut self, to: u64) -> Result<(), BlobError> {
        self.upload.hash_own(&mut self.hasher, self.at, to)?;
        self.at = to;
        Ok(())
    }

    /// While one piece is written and hashed, each on a thread of its own, the next is read.
    fn copy_to(&mut self, to: u64) -> Result<(), BlobError> {
        let most = self.len.min(PIECE as u64) as usize;
        let made = || [most; 2].map(Buffer::with_capacity);
        let [mut now, mut next] = self.pieces.take().unwrap_or_else(made);
        let mut left = (self.at..to).step_by(PIECE).map(|at| {
            let len = (to - at).min(PIECE as u64) as usize;
            (at, len)
        });
        let Some((at, len)) = left.next() else {
            return Ok(());
        };
        read(&self.source, &mut now, at, len)?;
        loop {
            let coming = left.next();
            let (upload, hasher, source) = (&mut self.upload, &mut self.hasher, &self.source);
            std::thread::scope(|s| {
                let writing = s.spawn(|| upload.append(&now));
                hasher.update(&now);
                let read = coming.map_or(Ok(()), |(at, len)| read(source, &mut next, at, len));
                let written = writing.join();
                written.unwrap_or_else(|_| Err(panicked())).and(read)
            })?;
            self.at += now.len() as u64;
            std::mem::swap(&mut now, &mut next);
            if coming.is_none() {
                self.pieces = Some([now, next]);
                return Ok(());
            }
        }
    }
}

/// Refuses what cannot be content: anything but a file (a pipe, a socket, a folder, a device), one of another length than was
/// said, as a file has that grows, and one that is long and nearly all holes. One that grows from now on is taken as far as was
/// said, and one that gets shorter is refused when that shows.
pub(in crate::blobs) fn check(source: &File, len: u64) -> Result<Metadata, BlobError> {
    let about = source
        .metadata()
        .map_err(|e| BlobError::Source(format!("it cannot be looked at: {e}")))?;
    if !about.is_file() {
        let is = datadir::what(about.file_type());
        return Err(BlobError::Source(format!("it is {is}, and no file")));
    }
    if about.len() != len {
        let is = about.len();
        let text = format!("it has {is} bytes, and was to have {len}");
        return Err(BlobError::Source(text));
    }
    if is_hollow(&about) {
        let text = format!("it has {len} bytes, nearly all of which are holes");
        return Err(BlobError::Source(text));
    }
    Ok(about)
}

/// Whether [`Uploads::adopting`](crate::blobs::Uploads::adopting) would take so many bytes of it, now.
pub fn can_adopt(source: &File, len: u64) -> bool {
    check(source, len).is_ok()
}

/// A file of the upload's that shares the first bytes of the source, if the file system can; else the upload has none yet.
fn clone(upload: Upload, source: &File, len: u64) -> Result<(Upload, bool), BlobError> {
    let (files, name) = (Arc::clone(&upload.files), upload.name);
    let path = files.upload_path(name);
    let file = files.create_upload(name, upload.owner.as_deref())?;
    if files.disk.reflink(&file, source).is_err() {
        // Whatever it was, copying tells, or does without.
        drop(file);
        files.discard(name)?;
        return Ok((upload, false));
    }
    let cut = match file.metadata() {
        Ok(about) if about.len() > len => files.disk.set_len(&file, len),
        Ok(about) if about.len() == len => Ok(()),
        Ok(_) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) => Err(error),
    };
    match cut {
        Ok(()) => Ok((upload.with_file(file, len), true)),
        Err(error) => {
            let _ = files.discard(name);
            Err(match error.kind() {
                ErrorKind::UnexpectedEof => shorter(len),
                _ => BlobError::io("cut back", &path)(error),
            })
        }
    }
}

fn read(source: &File, to: &mut Buffer, at: u64, len: usize) -> Result<(), BlobError> {
    to.read_at(source, at, len).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => shorter(at + len as u64),
        _ => BlobError::Source(format!("it cannot be read: {e}")),
    })
}

fn panicked() -> BlobError {
    let what = "cannot write content that is taken over";
    BlobError::Io(what.into(), io::Error::other("a panic"))
}

fn shorter(wanted: u64) -> BlobError {
    BlobError::Source(format!(
        "it got shorter while it was read: byte {wanted} is not there any more"
    ))
}
