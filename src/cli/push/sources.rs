//! The files that are to be sent: those that were named, opened at once, or all below folders, found as they are needed.
//!
//! Owns where each goes. Must not know what takes them.

use super::super::exit::Failure;
use crate::types::{Algorithm, Digest, Hasher};
use bytes::Bytes;
use futures_util::Stream;
use std::ffi::OsString;
use std::fs::{File, FileType};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// A file that is to be sent.
pub(super) struct FileToSend {
    file: Arc<File>,
    /// Length in bytes when it was opened.
    pub len: u64,
    /// Repository and path.
    pub target: String,
}

/// One thing that was found.
pub(super) enum FoundEntry {
    /// A file, opened.
    Source(FileToSend),
    /// A file, and the repository and path that it goes to.
    File { path: PathBuf, target: String },
    /// What is no file, and why it is passed over.
    Odd(String),
}

type Entries = Box<dyn Iterator<Item = Result<FoundEntry, Failure>> + Send>;

fn wrong(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {why}", path.display()))
}

/// The files that were named, all opened.
pub(super) fn opened(files: &[PathBuf], to: &str) -> Result<Entries, Failure> {
    if files.len() > 1 && !to.ends_with('/') {
        let text = format!("several files go into a folder: end {to} with a slash");
        return Err(Failure::usage(text));
    }
    let sources = files.iter().map(|path| {
        let source = open(path, target(path, to)?)?;
        Ok(FoundEntry::Source(source))
    });
    let sources: Vec<_> = sources.collect::<Result<_, Failure>>()?;
    Ok(Box::new(sources.into_iter().map(Ok)))
}

/// The files that were named, and all below the folders among them.
pub(super) fn below(files: &[PathBuf], to: &str) -> Result<Entries, Failure> {
    if !to.ends_with('/') {
        let text = format!("with -r files go into a folder: end {to} with a slash");
        return Err(Failure::usage(text));
    }
    let mut entries: Vec<Entries> = Vec::new();
    for path in files {
        if path.metadata().map_err(|e| wrong(path, e))?.is_dir() {
            entries.push(Box::new(Walk::begin(path, to)?));
        } else {
            let (path, target) = (path.clone(), target(path, to)?);
            entries.push(Box::new(std::iter::once(Ok(FoundEntry::File {
                path,
                target,
            }))));
        }
    }
    Ok(Box::new(entries.into_iter().flatten()))
}

/// Where a file goes that was named.
fn target(path: &Path, to: &str) -> Result<String, Failure> {
    if !to.ends_with('/') {
        return Ok(to.to_owned());
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| wrong(path, "its name is no text"))?;
    Ok(format!("{to}{name}"))
}

/// Opens a file.
pub(super) fn open(path: &Path, target: String) -> Result<FileToSend, Failure> {
    let file = File::open(path).map_err(|e| wrong(path, e))?;
    let about = file.metadata().map_err(|e| wrong(path, e))?;
    if !about.is_file() {
        let why = "this is no file; with -r all files below a folder are pushed";
        return Err(wrong(path, why));
    }
    Ok(FileToSend {
        file: Arc::new(file),
        len: about.len(),
        target,
    })
}

/// The files below a folder, in the order of their names; one folder's names are in memory at a time, and those of the folders
/// that it lies in.
struct Walk {
    open: Vec<Level>,
}

/// A folder that is being looked through.
struct Level {
    path: PathBuf,
    /// Repository and path, with a slash at the end.
    target: String,
    left: std::vec::IntoIter<(OsString, FileType)>,
}

impl Walk {
    fn begin(path: &Path, to: &str) -> Result<Self, Failure> {
        let first = Level::read(path.to_owned(), to.to_owned())?;
        Ok(Self { open: vec![first] })
    }
}

impl Level {
    fn read(path: PathBuf, target: String) -> Result<Self, Failure> {
        let read = || {
            let entries = std::fs::read_dir(&path)?.map(|entry| {
                let entry = entry?;
                Ok((entry.file_name(), entry.file_type()?))
            });
            entries.collect::<std::io::Result<Vec<_>>>()
        };
        let mut names = read().map_err(|e| wrong(&path, e))?;
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        let left = names.into_iter();
        Ok(Self { path, target, left })
    }
}

impl Iterator for Walk {
    type Item = Result<FoundEntry, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.open.last_mut()?;
            let Some((name, kind)) = level.left.next() else {
                self.open.pop();
                continue;
            };
            let path = level.path.join(&name);
            if !kind.is_dir() && !kind.is_file() {
                let what = if kind.is_symlink() {
                    "a symbolic link, which is not followed"
                } else {
                    "neither a file nor a folder"
                };
                let text = format!("{} was passed over: it is {what}", path.display());
                return Some(Ok(FoundEntry::Odd(text)));
            }
            let Some(name) = name.to_str() else {
                return Some(Err(wrong(&path, "its name is no text")));
            };
            let target = format!("{}{name}", level.target);
            if kind.is_file() {
                return Some(Ok(FoundEntry::File { path, target }));
            }
            match Level::read(path, format!("{target}/")) {
                Ok(level) => self.open.push(level),
                Err(failure) => return Some(Err(failure)),
            }
        }
    }
}

impl FileToSend {
    /// The open file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The digest of as many bytes as the file had when it was opened.
    pub async fn digest(&self, algorithm: Algorithm) -> Result<Digest, Failure> {
        let (file, len, target) = (Arc::clone(&self.file), self.len, self.target.clone());
        let hash = move || {
            let (mut hasher, mut at) = (Hasher::new(algorithm), 0);
            let mut piece = vec![0; PIECE];
            while at < len {
                let most = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
                let read = file.read_at(&mut piece[..most], at)?;
                if read == 0 {
                    break;
                }
                hasher.update(&piece[..read]);
                at += read as u64;
            }
            Ok::<_, std::io::Error>(hasher.finish())
        };
        let hashed = tokio::task::spawn_blocking(hash).await;
        let hashed = hashed.map_err(Failure::failed)?;
        hashed.map_err(|e| Failure::failed(format!("{target}: {e}")))
    }

    /// As many bytes as the file had when it was opened.
    pub fn stream(
        self,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + Unpin, Failure> {
        let file = self.file.try_clone().map_err(Failure::failed)?;
        let file = tokio::fs::File::from_std(file).take(self.len);
        Ok(ReaderStream::with_capacity(file, PIECE))
    }
}
