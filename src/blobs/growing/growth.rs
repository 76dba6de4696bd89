//! The writer's side: what it tells its readers. Dropping it without an outcome tells them that they were cut off.

use super::{Growing, GrowingError, Told};
use crate::blobs::files::Files;
use crate::blobs::place::UploadName;
use crate::blobs::{BlobError, Sealed, SealedBody};
use bytes::Bytes;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use tokio::sync::watch;

/// Tells readers how far a file has come. That nobody reads, or that they cannot, is no error for the writer.
#[derive(Debug)]
pub(in crate::blobs) struct Growth {
    told: watch::Sender<Told>,
    len: Option<u64>,
}

impl Growth {
    /// Of content that is to have `len` bytes, if that is known.
    pub fn new(len: Option<u64>) -> Self {
        let told = watch::Sender::new(Told::default());
        Self { told, len }
    }

    /// What readers begin from.
    pub fn growing(&self) -> Growing {
        Growing {
            told: self.told.subscribe(),
            len: self.len,
        }
    }

    /// The upload's file has so many bytes, each of which a call to write it has been answered for. A write past the page cache is
    /// seen by readers from then on: the kernel forgets the pages that it has of these bytes before it answers.
    pub fn written(&self, files: &Files, name: UploadName, held: &File, in_file: u64) {
        let known = self.told.borrow().file.clone();
        let opened = match known {
            Some(file) => Ok(file),
            None => opened(files, name, held).map(Arc::new),
        };
        self.tell(|told| match opened {
            Ok(file) => (told.file, told.in_file) = (Some(file), in_file),
            Err(error) => told.outcome = Some(Err((&error).into())),
        });
    }

    /// The content is right, and sealed.
    pub fn sealed(&self, sealed: &Sealed) {
        match &sealed.body {
            SealedBody::Inline(bytes) => self.ended(sealed.size, 0, bytes.clone()),
            SealedBody::Placed(_) => self.ended(sealed.size, sealed.size, Bytes::new()),
        }
    }

    /// The content is right: `in_file` bytes of it are in the file, and the others are `rest`.
    pub fn ended(&self, size: u64, in_file: u64, rest: Bytes) {
        let outcome = match self.len.filter(|len| *len != size) {
            Some(wanted) => Err(GrowingError::Length { wanted, got: size }),
            None => Ok(size),
        };
        self.tell(|told| {
            (told.in_file, told.rest) = (in_file, rest);
            told.outcome = Some(outcome);
        });
    }

    /// It will not be whole.
    pub fn failed(&self, error: &BlobError) {
        self.tell(|told| told.outcome = Some(Err(error.into())));
    }

    /// Nothing changes once there is an outcome.
    fn tell(&self, what: impl FnOnce(&mut Told)) {
        self.told.send_if_modified(|told| {
            let open = told.outcome.is_none();
            if open {
                what(told);
            }
            open
        });
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.tell(|told| told.outcome = Some(Err(GrowingError::CutOff)));
    }
}

/// The file that is written, opened anew. The writer's own descriptor is no use to readers: at times it is one for writes past the
/// page cache, which would hold for their reads, too.
fn opened(files: &Files, name: UploadName, held: &File) -> Result<File, BlobError> {
    let path = files.upload_path(name);
    let file = files.read_upload(name)?;
    let file = file.ok_or_else(|| BlobError::changed(&path))?;
    let about = |file: &File| {
        let about = file.metadata().map_err(BlobError::io("look at", &path))?;
        Ok::<_, BlobError>((about.dev(), about.ino()))
    };
    if about(&file)? != about(held)? {
        return Err(BlobError::changed(&path));
    }
    Ok(file)
}
