//! Reading everything again: content files against their digests, what lies in the folders, and the quarantine, where
//! what is wrong waits for a person instead of being removed.

use super::odd::shown;
use crate::blobs::files::Files;
use crate::blobs::folders::{is_hollow, open_content};
use crate::blobs::place::{Place, UploadName};
use crate::blobs::{BlobError, Content, Foreign};
use crate::types::{Algorithm, Digest, Hasher};
use rustix::fs::Advice;
use std::ffi::OsString;
use std::fs::{File, FileType, Permissions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

/// Bytes read in one call.
const PIECE: usize = 256 * 1024;

/// What a content file is, beside what it should be.
#[derive(Debug)]
pub enum FoundContent {
    /// Its digest is the promised one; its length in bytes.
    Whole(u64),
    /// Its bytes are others.
    Other {
        /// Their number.
        len: u64,
    },
    /// There is no such file.
    Missing,
    /// The disk refuses to read it.
    Unreadable(BlobError),
    /// The reader was told to stop.
    Stopped,
}

/// What lies in one folder.
#[derive(Debug, Default)]
pub struct Listed {
    /// Content files.
    pub places: Vec<Place>,
    /// Anything else.
    pub foreign: Vec<Foreign>,
}

impl Content {
    /// Reads a content file to its end. `each` hears of each piece's length before the next is read, and may wait; it
    /// answers whether to go on.
    pub fn read_through(&self, place: &Place, each: &mut dyn FnMut(usize) -> bool) -> FoundContent {
        let Ok(promised) = place.digest() else {
            return FoundContent::Missing;
        };
        let path = self.files.place_path(place);
        let mut file = match self.files.open_real(place) {
            Ok(Some(file)) => file,
            Ok(None) => return FoundContent::Missing,
            Err(e) => return FoundContent::Unreadable(e),
        };
        let mut hasher = Hasher::new(promised.algorithm());
        let mut buffer = vec![0; PIECE];
        let mut len = 0;
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return FoundContent::Unreadable(BlobError::io("read", &path)(e)),
            };
            hasher.update(buffer.get(..n).unwrap_or_default());
            // Bytes that nobody asked for must not push others out of memory; where that cannot be said it costs speed.
            if let Some(length) = std::num::NonZeroU64::new(n as u64) {
                let _ = rustix::fs::fadvise(&file, len, Some(length), Advice::DontNeed);
            }
            len += n as u64;
            if !each(n) {
                return FoundContent::Stopped;
            }
        }
        if hasher.finish() == promised {
            FoundContent::Whole(len)
        } else {
            FoundContent::Other { len }
        }
    }

    /// A content file's length; `None` if it is not there, or is no file.
    pub fn len_of(&self, place: &Place) -> Result<Option<u64>, BlobError> {
        if !self.files.is_in_folder(place)? {
            return Ok(None);
        }
        let path = self.files.place_path(place);
        match path.symlink_metadata() {
            Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(BlobError::io("look at", &path)(e)),
        }
    }

    /// Whether a content file is nearly all holes; see [`is_hollow`].
    pub fn is_hollow(&self, place: &Place) -> bool {
        let about = self.files.place_path(place).symlink_metadata();
        about.is_ok_and(|about| is_hollow(&about))
    }

    /// The content files that promise this digest.
    pub fn places_of(&self, digest: &Digest) -> Result<Vec<Place>, BlobError> {
        self.files.places_of(digest)
    }

    /// What lies in the folder of one algorithm and first byte.
    pub fn places_in(&self, algorithm: Algorithm, byte: u8) -> Result<Listed, BlobError> {
        self.files.places_in(algorithm, byte)
    }

    /// What lies beside the folders of places, in their place, and beside the uploads, and is not ours.
    pub fn strangers(&self) -> Result<Vec<Foreign>, BlobError> {
        let files = &self.files;
        let mut foreign = Vec::new();
        for (name, is) in files.entries("blobs")? {
            let algorithm = Algorithm::ALL.iter().find(|a| a.name() == name.as_os_str());
            // What mkfs makes where a folder is a file system of its own.
            if name != "lost+found" && !(algorithm.is_some() && is.is_dir()) {
                foreign.push(Foreign::new("blobs", &name, is));
            }
        }
        for algorithm in Algorithm::ALL {
            let folder = format!("blobs/{}", algorithm.name());
            for (name, is) in files.entries(&folder)? {
                let file = format!("{folder}/{}", shown(&name));
                if !(is.is_dir() && Files::is_folder(&file)) {
                    foreign.push(Foreign::new(&folder, &name, is));
                }
            }
        }
        for (name, is) in files.entries("uploads")? {
            let is_upload = name.to_str().and_then(UploadName::parse).is_some() && is.is_file();
            if name != "lost+found" && !is_upload {
                foreign.push(Foreign::new("uploads", &name, is));
            }
        }
        Ok(foreign)
    }

    /// Lets its owner read and write a content file that nobody may open; whether that could be done: only to a file of this
    /// process's user that has no other name.
    pub fn make_readable(&self, place: &Place) -> Result<bool, BlobError> {
        if !self.files.is_in_folder(place)? {
            return Ok(false);
        }
        let path = self.files.place_path(place);
        let about = path.symlink_metadata();
        let about = about.map_err(BlobError::io("look at", &path))?;
        let ours = rustix::process::geteuid().as_raw();
        if !about.is_file() || about.nlink() > 1 || about.uid() != ours {
            return Ok(false);
        }
        let mode = Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).map_err(BlobError::io("open", &path))?;
        Ok(true)
    }

    /// Moves what has a name in `blobs/` or `uploads/` ([`Foreign::file`], or a place's) into `quarantine/` and makes that
    /// durable; answers where it is now, or `None` if it is not there. What stood in the place of a folder makes room for one.
    pub fn quarantine(&self, file: &str) -> Result<Option<String>, BlobError> {
        self.files.quarantine(file)
    }

    /// Keeps bytes of the database in `quarantine/`; answers where.
    pub fn quarantine_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<String, BlobError> {
        self.files.quarantine_bytes(digest, bytes)
    }
}

impl crate::blobs::UploadFile {
    /// The file below the data directory.
    pub fn path(&self) -> String {
        format!("uploads/{}", self.name)
    }
}

impl Files {
    pub(in crate::blobs) fn places_of(&self, digest: &Digest) -> Result<Vec<Place>, BlobError> {
        let mut listed = self.places_in(digest.algorithm(), digest.as_key()[1])?;
        listed
            .places
            .retain(|place| place.digest().is_ok_and(|d| d == *digest));
        Ok(listed.places)
    }

    fn places_in(&self, algorithm: Algorithm, byte: u8) -> Result<Listed, BlobError> {
        let folder = format!("{}/{byte:02x}", algorithm.name());
        let mut listed = Listed::default();
        for (name, is) in self.entries(&format!("blobs/{folder}"))? {
            let place = name
                .to_str()
                .map(|name| Place::parse(&format!("{folder}/{name}")));
            match place {
                Some(Ok(place)) if is.is_file() => listed.places.push(place),
                _ => {
                    let foreign = Foreign::new(&format!("blobs/{folder}"), &name, is);
                    listed.foreign.push(foreign);
                }
            }
        }
        Ok(listed)
    }

    /// The names in a folder below DIR and what each is, in order; none if the folder is missing, or is none.
    fn entries(&self, folder: &str) -> Result<Vec<(OsString, FileType)>, BlobError> {
        let dir = match self.real(folder) {
            Ok(Some(dir)) => dir,
            Ok(None) | Err(BlobError::Folder(..)) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in dir.read_dir().map_err(BlobError::io("list", &dir))? {
            let entry = entry.map_err(BlobError::io("list", &dir))?;
            match entry.file_type() {
                Ok(is) => names.push((entry.file_name(), is)),
                // It went since the folder was read.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(BlobError::io("look at", &entry.path())(e)),
            }
        }
        names.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }

    /// Whether a place's folder is there, and is one.
    fn is_in_folder(&self, place: &Place) -> Result<bool, BlobError> {
        place.digest()?;
        let folder = place.0.rsplit_once('/').map_or("", |(folder, _)| folder);
        match self.real(&format!("blobs/{folder}")) {
            Ok(real) => Ok(real.is_some()),
            Err(BlobError::Folder(..)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn open_real(&self, place: &Place) -> Result<Option<File>, BlobError> {
        if !self.is_in_folder(place)? {
            return Ok(None);
        }
        let path = self.place_path(place);
        open_content(&path).map_err(BlobError::io("open", &path))
    }
}
