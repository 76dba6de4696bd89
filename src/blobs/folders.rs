//! The folders of contents: made when DIR is opened, and looked at again before anything below them is listed, read through,
//! moved or removed. A link in the place of one would lead out of DIR.

use super::BlobError;
use super::files::Files;
use crate::datadir;
use crate::types::Algorithm;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file of more bytes than this is looked at for being nearly all holes.
const LARGE: u64 = 64 << 20;
/// Such a file has this many times the bytes that it takes on the disk: no file system packs contents so well.
const HOLES: u64 = 64;

impl Files {
    /// DIR/uploads is made last: where it is, every other folder was durable before. Without it, a folder that is there
    /// may have been made by a start that was killed before its sync, so all are synced.
    ///
    /// With `lenient` something else that has the name of a folder below DIR/blobs stays, for a check to tell of, and nothing
    /// is made below it.
    pub(super) fn make_folders(&self, lenient: bool) -> Result<(), BlobError> {
        let dir = &self.options.dir;
        let whole = self.uploads_dir().is_dir();
        if let Some(above) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            let make = DirBuilder::new().recursive(true).mode(0o700).create(above);
            make.map_err(BlobError::io("make the folder", above))?;
        }
        if !dir.is_dir() {
            self.make_folder(dir)?;
        }
        if !whole {
            self.sync_above();
        }
        let made = |path: &Path| match self.make_folder(path) {
            Err(BlobError::Folder(..)) if lenient => Ok(None),
            other => other.map(Some),
        };
        let new = self.make_folder(&dir.join("blobs"))?;
        self.make_places(!whole | new, &made)?;
        self.make_folder(&self.uploads_dir())?;
        // Whatever a killed start made in DIR, the database among it, is durable before anything is acknowledged.
        self.sync_dir(dir)
    }

    /// The folders of DIR/blobs. `made` makes one: whether it is new, or nothing if it cannot be had.
    fn make_places(
        &self,
        mut new: bool,
        made: &impl Fn(&Path) -> Result<Option<bool>, BlobError>,
    ) -> Result<(), BlobError> {
        let blobs = self.options.dir.join("blobs");
        for algorithm in Algorithm::ALL {
            let above = blobs.join(algorithm.name());
            let Some(is_new) = made(&above)? else {
                continue;
            };
            new |= is_new;
            let mut new_here = new;
            for byte in 0..=u8::MAX {
                new_here |= made(&above.join(format!("{byte:02x}")))?.unwrap_or(true);
            }
            if new_here {
                self.sync_dir(&above)?;
            }
        }
        if new {
            self.sync_dir(&blobs)?;
            self.sync_dir(&self.options.dir)?;
        }
        Ok(())
    }

    /// Makes DIR itself durable, and the folders on the way to it that may be as new. They are not ours: one that will
    /// not be synced is no reason not to start.
    fn sync_above(&self) {
        for above in self.options.dir.ancestors().skip(1) {
            let above = if above.as_os_str().is_empty() {
                Path::new(".")
            } else {
                above
            };
            if let Err(error) = self.sync_dir(above) {
                tracing::warn!(%error, "a power cut in the next minute may take a new data directory along");
                return;
            }
        }
    }

    /// Makes one folder; whether it was made now.
    pub(super) fn make_folder(&self, path: &Path) -> Result<bool, BlobError> {
        self.disk.make_dir(path).map_err(|e| match e.kind() {
            ErrorKind::InvalidInput => BlobError::Folder(path.display().to_string(), e),
            _ => BlobError::io("make the folder", path)(e),
        })
    }

    /// The path of a folder below DIR, each part of which is a folder and no link: `None` if one is missing.
    pub(super) fn real(&self, folder: &str) -> Result<Option<PathBuf>, BlobError> {
        let mut path = self.options.dir.clone();
        for part in folder.split('/') {
            path.push(part);
            match path.symlink_metadata() {
                Ok(about) if about.is_dir() => {}
                Ok(about) => {
                    let why = datadir::strange(about.file_type(), "folder");
                    return Err(BlobError::Folder(path.display().to_string(), why));
                }
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(BlobError::io("look at", &path)(e)),
            }
        }
        Ok(Some(path))
    }

    /// Whether something of this name below DIR must be a folder of places.
    pub(super) fn is_folder(file: &str) -> bool {
        let parts: Vec<&str> = file.split('/').collect();
        let is_byte = |text: &str| {
            text.len() == 2
                && u8::from_str_radix(text, 16).is_ok_and(|b| format!("{b:02x}") == text)
        };
        let is_algorithm = |text: &str| Algorithm::ALL.iter().any(|a| a.name() == text);
        match parts.as_slice() {
            ["blobs", algorithm] => is_algorithm(algorithm),
            ["blobs", algorithm, byte] => is_algorithm(algorithm) && is_byte(byte),
            _ => false,
        }
    }
}

/// Opens a content file for reading: never by a link, never waiting. `None`: there is no file of that name, though maybe
/// something else.
pub(super) fn open_content(path: &Path) -> io::Result<Option<File>> {
    let flags = datadir::NO_WAIT.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => match path.symlink_metadata() {
            Ok(about) if about.is_file() => Err(e),
            Ok(_) => Ok(None),
            Err(_) => Err(e),
        },
    }
}

/// Whether a file has next to no bytes of its own, however long it is: where nothing says that it must have that length,
/// reading it to its end would only take time.
pub(super) fn is_hollow(about: &Metadata) -> bool {
    about.len() > LARGE && about.blocks().saturating_mul(512) < about.len() / HOLES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_from_files() {
        for yes in ["blobs/sha256", "blobs/sha512/0f"] {
            assert!(Files::is_folder(yes), "{yes}");
        }
        for no in [
            "",
            "tls",
            "blobs/md5",
            "blobs/sha256/0F",
            "blobs/sha256/+f",
            "uploads/ab",
        ] {
            assert!(!Files::is_folder(no), "{no}");
        }
    }
}
