//! The quarantine: what is wrong, or not ours, is moved there and waits for a person.

use super::odd::real;
use crate::blobs::files::Files;
use crate::blobs::{BlobError, folders};
use crate::types::{Algorithm, Digest};
use std::fs::Permissions;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Letters of a name in the quarantine at most; file systems take 255 bytes.
const LONGEST: usize = 200;

impl Files {
    pub(in crate::blobs) fn quarantine(&self, file: &str) -> Result<Option<String>, BlobError> {
        let Some(from) = self.inside(file)? else {
            return Ok(None);
        };
        let folder = self.make_quarantine()?;
        let flat = flat_name(file);
        let mut name = flat.clone();
        let mut tried = 0;
        loop {
            match self.move_there(&from, &folder.join(&name)) {
                Ok(()) => break,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    tried += 1;
                    name = format!("{flat}.{tried}");
                }
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(BlobError::io("move to the quarantine", &from)(e)),
            }
        }
        self.sync_dir(&folder)?;
        if Self::is_folder(file) {
            // What was there instead is gone: contents find their folders again.
            self.make_folders(true)?;
        }
        if let Some(above) = from.parent() {
            self.sync_dir(above)?;
        }
        Ok(Some(format!("quarantine/{name}")))
    }

    /// The path of what is called so below DIR/blobs or DIR/uploads, if all folders on the way are real; `Damaged` for any
    /// text that does not lead there.
    fn inside(&self, file: &str) -> Result<Option<PathBuf>, BlobError> {
        let strange = || BlobError::Damaged(file.to_owned());
        let (folder, name) = match file.rsplit_once('/') {
            Some((folder, name)) => (Some(folder), name),
            None => (None, file),
        };
        let top = file.split('/').next().unwrap_or_default();
        let parts_are_names = file.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !matches!(top, "blobs" | "uploads") || !parts_are_names {
            return Err(strange());
        }
        let name = real(name).ok_or_else(strange)?;
        let above = match folder {
            None => Some(self.options.dir.clone()),
            Some(folder) => self.real(folder)?,
        };
        Ok(above.map(|above| above.join(name)))
    }

    /// Renames without replacing. A folder of ours whose mode forbids that is opened to us first.
    fn move_there(&self, from: &Path, to: &Path) -> io::Result<()> {
        let moved = self.disk.rename_new(from, to);
        let denied = matches!(&moved, Err(e) if e.kind() == ErrorKind::PermissionDenied);
        if denied && from.symlink_metadata()?.is_dir() {
            std::fs::set_permissions(from, Permissions::from_mode(0o700))?;
            return self.disk.rename_new(from, to);
        }
        moved
    }

    pub(in crate::blobs) fn quarantine_bytes(
        &self,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<String, BlobError> {
        let folder = self.make_quarantine()?;
        // By what they are as well: other bytes of the same digest have another name.
        let is = Digest::of(Algorithm::Sha256, bytes).hex();
        let (algorithm, hex) = (digest.algorithm().name(), digest.hex());
        let flat = format!("bytes_{algorithm}_{hex}.{is}");
        let mut name = flat.clone();
        let mut tried = 0;
        let (path, file) = loop {
            let path = folder.join(&name);
            match self.disk.create(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(self.fault("make", &path, 0, e)),
            }
            // An earlier check kept the same bytes, unless somebody else made something of that name.
            if holds(&path, bytes) {
                return Ok(format!("quarantine/{name}"));
            }
            tried += 1;
            name = format!("{flat}.{tried}");
        };
        let wrote = self.disk.write_at(&file, bytes, 0);
        wrote
            .and_then(|()| self.disk.sync(&file, true))
            .map_err(|e| self.fault("write to", &path, bytes.len() as u64, e))?;
        self.sync_dir(&folder)?;
        Ok(format!("quarantine/{name}"))
    }

    fn make_quarantine(&self) -> Result<PathBuf, BlobError> {
        let folder = self.options.dir.join("quarantine");
        if self.make_folder(&folder)? {
            self.sync_dir(&self.options.dir)?;
        }
        Ok(folder)
    }
}

/// A name in the quarantine for something below DIR: one that is too long is cut, and told from others by what it was.
fn flat_name(file: &str) -> String {
    let flat = file.replace('/', "_");
    if flat.len() <= LONGEST {
        return flat;
    }
    let hex = Digest::of(Algorithm::Sha256, file.as_bytes()).hex();
    let mut cut = flat;
    // All of it is ASCII.
    cut.truncate(LONGEST - hex.len() - 1);
    format!("{cut}.{hex}")
}

/// Whether the file has just these bytes.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let mut found = Vec::new();
    let Ok(Some(file)) = folders::open_content(path) else {
        return false;
    };
    let read = file.take(bytes.len() as u64 + 1).read_to_end(&mut found);
    read.is_ok() && found == bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_short_and_apart() {
        assert_eq!(flat_name("uploads/x"), "uploads_x");
        let (one, two) = ("a".repeat(600), "b".repeat(600));
        let long = |end: &str| flat_name(&format!("blobs/sha256/ab/{one}{end}"));
        assert!(long("1").len() <= LONGEST);
        assert_ne!(long("1"), long("2"));
        assert_ne!(long("1"), flat_name(&format!("blobs/sha256/ab/{two}")));
    }
}
