//! Content files: an upload's file brought to its place, opened and removed there. What becomes of it before is the parent's.

use super::super::folders::open_content;
use super::super::place::{Place, UploadName};
use super::super::upload::Held;
use super::super::{BlobError, Removed};
use super::Files;
use crate::datadir;
use crate::types::{Algorithm, Digest, UploadId};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

impl Files {
    /// The file of a place.
    pub fn place_path(&self, place: &Place) -> PathBuf {
        self.options.dir.join("blobs").join(&place.0)
    }

    /// Brings a synced upload of `len` bytes to a place that was never used and makes that durable. With `keep` the upload
    /// keeps its own name, too, unless this file system gives a file one name only; answers whether it does. `Changed` if
    /// another file than this one came there.
    pub fn place(
        &self,
        (name, file): (UploadName, &Held),
        len: u64,
        digest: &Digest,
        keep: bool,
    ) -> Result<(Place, bool), BlobError> {
        let place = fresh_place(digest)?;
        let (from, to) = (self.upload_path(name), self.place_path(&place));
        let brought = self.bring(&from, &to, keep);
        // Whatever the call said: what is there now counts.
        if !Self::is_at(file, &to, len)? {
            brought?;
            // No row will name it; what cannot be removed is found by a check.
            let _ = self.disk.remove(&to);
            return Err(BlobError::changed(&to));
        }
        let kept = match brought {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, place = %place, "the file is there nevertheless");
                Self::is_at(file, &from, len)?
            }
        };
        self.sync_folder(digest)?;
        Ok((place, kept))
    }

    /// Gives somebody's file of `len` bytes a name at a place that was never used, beside those that it has, and makes that durable.
    /// `None` where it can have none there: it is on another file system, or we may not.
    pub fn place_open(
        &self,
        file: &File,
        len: u64,
        digest: &Digest,
    ) -> Result<Option<Place>, BlobError> {
        let place = fresh_place(digest)?;
        let to = self.place_path(&place);
        // Whatever the call says: what is there then counts.
        let _ = self.disk.link_open(file, &to);
        if !Self::is_at(file, &to, len)? {
            return Ok(None);
        }
        // Later it is opened by that name, with our rights.
        if self.open_place(&place, digest, len).is_err() {
            self.remove(std::slice::from_ref(&place)).result?;
            return Ok(None);
        }
        self.sync_folder(digest)?;
        Ok(Some(place))
    }

    /// Gives the file its new name; with `keep` beside its own, if that can be. Answers whether it has both.
    fn bring(&self, from: &Path, to: &Path, keep: bool) -> Result<bool, BlobError> {
        if keep && self.link(from, to)? {
            return Ok(true);
        }
        let moved = self.disk.rename_new(from, to);
        moved.map_err(|e| self.fault("move an upload to", to, 0, e))?;
        Ok(false)
    }

    /// `false` where a file can have no second name.
    fn link(&self, from: &Path, to: &Path) -> Result<bool, BlobError> {
        use rustix::io::Errno;
        const REFUSED: [Errno; 5] = [
            Errno::PERM,
            Errno::OPNOTSUPP,
            Errno::NOSYS,
            Errno::MLINK,
            Errno::INVAL,
        ];
        match self.disk.link_new(from, to) {
            Ok(()) => Ok(true),
            Err(e)
                if REFUSED
                    .iter()
                    .any(|r| e.raw_os_error() == Some(r.raw_os_error())) =>
            {
                Ok(false)
            }
            Err(e) => Err(self.fault("give an upload the name", to, 0, e)),
        }
    }

    /// Opens content for reading; `Damaged` if it has not this size, or the place is not one of this digest.
    pub fn open_place(&self, place: &Place, digest: &Digest, size: u64) -> Result<File, BlobError> {
        if place.digest()? != *digest {
            return Err(BlobError::Damaged(place.0.clone()));
        }
        let path = self.place_path(place);
        let opened = open_content(&path).map_err(BlobError::io("open", &path))?;
        let file = opened.ok_or_else(|| BlobError::Damaged(place.0.clone()))?;
        let meta = file.metadata().map_err(BlobError::io("look at", &path))?;
        if meta.len() == size {
            Ok(file)
        } else {
            Err(BlobError::Damaged(place.0.clone()))
        }
    }

    /// The same without a wait: only if the kernel has the way to the file in memory (`RESOLVE_CACHED`, Linux 5.12), on a
    /// file system that then asks nobody. `None` says nothing of the file; [`Files::open_place`] does.
    pub fn open_place_now(&self, place: &Place, digest: &Digest, size: u64) -> Option<File> {
        use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
        if !self.local || place.digest().ok()? != *digest {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | datadir::NO_WAIT;
        let path = self.place_path(place);
        let opened = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::CACHED);
        let file = File::from(opened.ok()?);
        let meta = file.metadata().ok()?;
        (meta.is_file() && meta.len() == size).then_some(file)
    }

    /// Whether the file of a place is gone, or has another length, though its folder is there. Nothing is opened: those who ask
    /// have no leave for a file.
    pub fn is_lost(&self, place: &Place, size: u64) -> bool {
        let path = self.place_path(place);
        match path.symlink_metadata() {
            Ok(about) => !about.is_file() || about.len() != size,
            Err(e) => e.kind() == ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir),
        }
    }

    /// Removes content files and syncs their folders; fine if they are gone. One that cannot go does not keep the others.
    pub fn remove(&self, places: &[Place]) -> Removed {
        let mut result = Ok(());
        let mut gone = vec![false; places.len()];
        let mut folders: BTreeMap<(Algorithm, u8), bool> = BTreeMap::new();
        for (place, gone) in places.iter().zip(&mut gone) {
            let unlinked = self.unlink(place, &mut folders);
            *gone = unlinked.is_ok();
            result = result.and(unlinked);
        }
        for ((algorithm, byte), is_there) in folders {
            if !is_there {
                continue;
            }
            let synced = self.sync_folder_of(algorithm, byte);
            if synced.is_err() {
                let is_in =
                    |place: &Place| folder_of(place).is_ok_and(|of| of == (algorithm, byte));
                let within = places
                    .iter()
                    .zip(&mut gone)
                    .filter(|(place, _)| is_in(place));
                within.for_each(|(_, gone)| *gone = false);
            }
            result = result.and(synced);
        }
        Removed { gone, result }
    }

    /// Removes a content file and notes its folder, whose sync makes that durable. A text that is no place removes nothing.
    fn unlink(
        &self,
        place: &Place,
        folders: &mut BTreeMap<(Algorithm, u8), bool>,
    ) -> Result<(), BlobError> {
        let (algorithm, byte) = folder_of(place)?;
        if let Entry::Vacant(unknown) = folders.entry((algorithm, byte)) {
            let folder = format!("blobs/{}/{byte:02x}", algorithm.name());
            unknown.insert(self.real(&folder)?.is_some());
        }
        let path = self.place_path(place);
        match self.disk.remove(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(BlobError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    fn sync_folder(&self, digest: &Digest) -> Result<(), BlobError> {
        self.sync_folder_of(digest.algorithm(), digest.as_key()[1])
    }

    fn sync_folder_of(&self, algorithm: Algorithm, byte: u8) -> Result<(), BlobError> {
        let blobs = self.options.dir.join("blobs");
        let dir = blobs.join(algorithm.name()).join(format!("{byte:02x}"));
        let kind = Algorithm::ALL
            .iter()
            .position(|a| *a == algorithm)
            .unwrap_or_default();
        let fsync = || self.timed(|| self.disk.sync_dir(&dir));
        match self.folders.get(kind * 256 + usize::from(byte)) {
            Some(folder) => folder.sync(fsync),
            None => fsync(),
        }
        .map_err(|e| self.fault("make durable", &dir, 0, e))
    }
}

/// A place that was never used, for content of this digest.
fn fresh_place(digest: &Digest) -> Result<Place, BlobError> {
    let mut fresh = [0; 16];
    getrandom::fill(&mut fresh).map_err(|e| {
        let why = io::Error::other(e.to_string());
        BlobError::Io(format!("cannot find a place for {digest}"), why)
    })?;
    Ok(Place::of(digest, UploadId(fresh)))
}

/// The folder of a place: its algorithm and first byte.
fn folder_of(place: &Place) -> Result<(Algorithm, u8), BlobError> {
    let digest = place.digest()?;
    Ok((digest.algorithm(), digest.as_key()[1]))
}
