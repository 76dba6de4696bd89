//! Content that is read while it comes: any number of readers beside one writer.
//!
//! Owns what the writer tells its readers: how far the file has come, and how it ended. A reader has a descriptor of its own, so
//! it reads on after the file came to its place, or went. It sees bytes only once the file has them; those that the writer still
//! has in memory it does not see. **The last byte is held back until the digest is verified and the content sealed:** of wrong
//! content nobody ever has all, so a body of a known length breaks off, and one of an unknown length gets no end. What was read
//! before that is not verified, also where a range is whole.
//!
//! Readers never hold up the writer: it writes to the disk, they read what they can, and the kernel's page cache is all that lies
//! between. A reader keeps no bytes between two calls. Must not know who reads, nor where the bytes come from.

mod growth;
mod reader;

pub(super) use growth::Growth;
pub use reader::{GrowingPart, GrowingReader};

use super::{BlobError, BlobErrorKind};
use bytes::Bytes;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::watch;

/// Why content that was coming will not be whole, or cannot be read. What was read of it must not be taken for content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrowingError {
    /// Its digest is another one, or its file was changed by somebody else.
    #[error("the content that came is not what was promised; it has been removed")]
    Wrong,
    /// It has another length than was said before it came. In bytes.
    #[error("the content that came has {got} bytes, and was to have {wanted}")]
    Length {
        /// What was said.
        wanted: u64,
        /// What it has.
        got: u64,
    },
    /// Its writer went away. What came may be kept, and be gone on with by another.
    #[error("the content was cut off on its way here")]
    CutOff,
    /// There is no room for the rest of it.
    #[error("the disk is full: the rest of the content cannot be kept")]
    NoSpace,
    /// The file system failed its writer: in its words.
    #[error("the content cannot be kept: {0}")]
    Disk(Arc<str>),
    /// The file system failed this reader alone: in its words. The content may yet be whole.
    #[error("the content on its way cannot be read: {0}")]
    Read(Arc<str>),
}

impl From<&BlobError> for GrowingError {
    fn from(error: &BlobError) -> Self {
        match error.kind() {
            BlobErrorKind::Digest => Self::Wrong,
            BlobErrorKind::NoSpace => Self::NoSpace,
            _ => Self::Disk(error.to_string().into()),
        }
    }
}

/// What the writer has told.
#[derive(Debug, Default)]
struct Told {
    /// The file, once there is one: open for reading only, and never read by itself.
    file: Option<Arc<File>>,
    /// Bytes from the start that the file has.
    in_file: u64,
    /// Those behind them, once all is known: few bytes that never came to a file, or did not need to.
    rest: Bytes,
    /// How it ended: its length in bytes.
    outcome: Option<Result<u64, GrowingError>>,
}

impl Told {
    /// How many bytes from the start may be read, of content that is to have `len`.
    fn readable(&self, len: Option<u64>) -> u64 {
        if let Some(Ok(size)) = self.outcome {
            return size;
        }
        // Whether more follows is not known, so any byte may be the last one.
        let most = len.map_or(u64::MAX, |len| len.saturating_sub(1));
        self.in_file.saturating_sub(1).min(most)
    }
}

/// Content that is coming; cheap to clone. Readers may begin at any time, also once it has ended.
#[derive(Debug, Clone)]
pub struct Growing {
    told: watch::Receiver<Told>,
    len: Option<u64>,
}

impl Growing {
    /// A reader of these bytes, or of those from there to the end. The range may reach beyond the end: where that is, is not known
    /// before [`Growing::wait_len`] answers.
    pub fn reader(&self, range: Range<u64>) -> GrowingReader {
        GrowingReader::new(self.clone(), range)
    }

    /// A reader of everything.
    pub fn reader_of_all(&self) -> GrowingReader {
        self.reader(0..u64::MAX)
    }

    /// Length of the whole content in bytes, as it was said beforehand, or as it is since the end.
    pub fn len_known(&self) -> Option<u64> {
        let ended = self.told.borrow().outcome.clone();
        self.len.or(ended.and_then(Result::ok))
    }

    /// The same, waited for if need be. One that was said beforehand is answered at once, and may turn out to be wrong; then no
    /// reader comes to its end.
    pub async fn wait_len(&self) -> Result<u64, GrowingError> {
        match self.len_known() {
            Some(len) => Ok(len),
            None => self.wait_end().await,
        }
    }

    /// Waits until the content is whole and sealed; its length in bytes.
    pub async fn wait_end(&self) -> Result<u64, GrowingError> {
        let mut told = self.told.clone();
        let ended = told.wait_for(|told| told.outcome.is_some()).await;
        let outcome = ended.ok().and_then(|told| told.outcome.clone());
        outcome.unwrap_or(Err(GrowingError::CutOff))
    }

    /// Bytes from the start that can be read now.
    pub fn readable(&self) -> u64 {
        self.told.borrow().readable(self.len)
    }
}
