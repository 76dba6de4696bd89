//! Reading everything again: content files against their digests, what lies in the folders, and the quarantine, where
//! what is wrong waits for a person instead of being removed.

use super::files::Files;
use super::place::{Place, UploadName};
use super::{BlobError, Blobs};
use crate::types::{Algorithm, Digest, Hasher};
use rustix::fs::Advice;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// Bytes read in one call.
const PIECE: usize = 256 * 1024;

/// What a content file is, beside what it should be.
#[derive(Debug)]
pub enum Found {
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
    /// Anything else, below the data directory.
    pub foreign: Vec<String>,
}

impl Blobs {
    /// Reads a content file to its end. `each` hears of each piece's length before the next is read, and may wait; it
    /// answers whether to go on.
    pub fn read_through(&self, place: &Place, each: &mut dyn FnMut(usize) -> bool) -> Found {
        let Ok(promised) = place.digest() else {
            return Found::Missing;
        };
        let path = self.files.place_path(place);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Found::Missing,
            Err(e) => return Found::Unreadable(BlobError::io("open", &path)(e)),
        };
        let mut hasher = Hasher::new(promised.algorithm());
        let mut buffer = vec![0; PIECE];
        let mut len = 0;
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Found::Unreadable(BlobError::io("read", &path)(e)),
            };
            hasher.update(buffer.get(..n).unwrap_or_default());
            // Bytes that nobody asked for must not push others out of memory; where that cannot be said it costs speed.
            if let Some(length) = std::num::NonZeroU64::new(n as u64) {
                let _ = rustix::fs::fadvise(&file, len, Some(length), Advice::DontNeed);
            }
            len += n as u64;
            if !each(n) {
                return Found::Stopped;
            }
        }
        if hasher.finish() == promised {
            Found::Whole(len)
        } else {
            Found::Other { len }
        }
    }

    /// A content file's length; `None` if it is not there.
    pub fn len_of(&self, place: &Place) -> Result<Option<u64>, BlobError> {
        place.digest()?;
        let path = self.files.place_path(place);
        match path.symlink_metadata() {
            Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(BlobError::io("look at", &path)(e)),
        }
    }

    /// The content files that promise this digest.
    pub fn places_of(&self, digest: &Digest) -> Result<Vec<Place>, BlobError> {
        self.files.places_of(digest)
    }

    /// What lies in the folder of one algorithm and first byte.
    pub fn places_in(&self, algorithm: Algorithm, byte: u8) -> Result<Listed, BlobError> {
        self.files.places_in(algorithm, byte)
    }

    /// What lies beside the folders of places, and beside the uploads, and is not ours.
    pub fn strangers(&self) -> Result<Vec<String>, BlobError> {
        let dir = &self.files.options.dir;
        let mut foreign = Vec::new();
        for name in names(&dir.join("blobs"))? {
            // What mkfs makes where a folder is a file system of its own.
            if name == "lost+found" {
                continue;
            }
            if !Algorithm::ALL.iter().any(|a| a.name() == name) {
                foreign.push(format!("blobs/{name}"));
            }
        }
        for algorithm in Algorithm::ALL {
            for name in names(&dir.join("blobs").join(algorithm.name()))? {
                let is_ours = name.len() == 2
                    && u8::from_str_radix(&name, 16).is_ok_and(|b| format!("{b:02x}") == name);
                if !is_ours {
                    foreign.push(format!("blobs/{}/{name}", algorithm.name()));
                }
            }
        }
        for name in names(&self.files.uploads_dir())? {
            if name != "lost+found" && UploadName::parse(&name).is_none() {
                foreign.push(format!("uploads/{name}"));
            }
        }
        Ok(foreign)
    }

    /// Moves a file of `blobs/` or `uploads/` into `quarantine/` and makes that durable; answers where it is now, or
    /// `None` if it is not there.
    pub fn quarantine(&self, file: &str) -> Result<Option<String>, BlobError> {
        self.files.quarantine(file)
    }

    /// Keeps bytes of the database in `quarantine/`; answers where.
    pub fn quarantine_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<String, BlobError> {
        self.files.quarantine_bytes(digest, bytes)
    }
}

impl super::UploadFile {
    /// The file below the data directory.
    pub fn path(&self) -> String {
        let name = UploadName {
            id: self.id,
            repo: self.repo,
            algorithm: self.algorithm,
        };
        format!("uploads/{name}")
    }
}

/// The names in a folder; odd ones as well as they can be said.
fn names(dir: &Path) -> Result<Vec<String>, BlobError> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(BlobError::io("list", dir)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(BlobError::io("list", dir))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

impl Files {
    pub(super) fn places_of(&self, digest: &Digest) -> Result<Vec<Place>, BlobError> {
        let mut listed = self.places_in(digest.algorithm(), digest.as_key()[1])?;
        listed
            .places
            .retain(|place| place.digest().is_ok_and(|d| d == *digest));
        Ok(listed.places)
    }

    fn places_in(&self, algorithm: Algorithm, byte: u8) -> Result<Listed, BlobError> {
        let folder = format!("{}/{byte:02x}", algorithm.name());
        let mut listed = Listed::default();
        for name in names(&self.options.dir.join("blobs").join(&folder))? {
            let text = format!("{folder}/{name}");
            match Place::parse(&text) {
                Ok(place) => listed.places.push(place),
                Err(_) => listed.foreign.push(format!("blobs/{text}")),
            }
        }
        Ok(listed)
    }

    fn quarantine(&self, file: &str) -> Result<Option<String>, BlobError> {
        let ours = file.starts_with("blobs/") || file.starts_with("uploads/");
        if !ours || file.split('/').any(|part| part.is_empty() || part == "..") {
            return Err(BlobError::Damaged(file.to_owned()));
        }
        let from = self.options.dir.join(file);
        let folder = self.make_quarantine()?;
        let flat = file.replace('/', "_");
        let mut name = flat.clone();
        let mut tried = 0;
        loop {
            match self.disk.rename_new(&from, &folder.join(&name)) {
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
        if let Some(above) = from.parent() {
            self.sync_dir(above)?;
        }
        Ok(Some(format!("quarantine/{name}")))
    }

    fn quarantine_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<String, BlobError> {
        let folder = self.make_quarantine()?;
        // By what they are as well: other bytes of the same digest have another name.
        let is = Digest::of(Algorithm::Sha256, bytes).hex();
        let (algorithm, hex) = (digest.algorithm().name(), digest.hex());
        let name = format!("bytes_{algorithm}_{hex}.{is}");
        let path = folder.join(&name);
        let file = match self.disk.create(&path) {
            Ok(file) => file,
            // An earlier check kept the same bytes.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return Ok(format!("quarantine/{name}"));
            }
            Err(e) => return Err(self.fault("make", &path, 0, e)),
        };
        let wrote = self.disk.write_at(&file, bytes, 0);
        wrote
            .and_then(|()| self.disk.sync(&file, true))
            .map_err(|e| self.fault("write to", &path, bytes.len() as u64, e))?;
        self.sync_dir(&folder)?;
        Ok(format!("quarantine/{name}"))
    }

    fn make_quarantine(&self) -> Result<std::path::PathBuf, BlobError> {
        let folder = self.options.dir.join("quarantine");
        if self.make_folder(&folder)? {
            self.sync_dir(&self.options.dir)?;
        }
        Ok(folder)
    }
}
