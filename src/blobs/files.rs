//! What is done below DIR/blobs and DIR/uploads, each step in its durable form. The calls themselves are `disk`'s.
//!
//! Owns the files of uploads, syncs and room; `content` the files that uploads become.

mod content;

use super::disk::Disk;
use super::folders::open_content;
use super::place::UploadName;
use super::sync::DirSync;
use super::upload::Held;
use super::{BlobError, BlobOptions};
use crate::datadir;
use crate::types::Algorithm;
use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

/// Numbers that [`super::BlobCounters`] is read from.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub fsyncs: AtomicU64,
    pub fsync_micros: AtomicU64,
    pub bytes_in: AtomicU64,
    pub blobs_sealed: AtomicU64,
    pub bytes_rehashed: AtomicU64,
    pub uploads_listed: AtomicU64,
}

/// What tells that an upload's file was written to: its length and time.
pub(super) type UploadState = (u64, Option<SystemTime>);

/// An upload's file as it was last seen.
pub(super) struct Seen {
    pub state: UploadState,
    /// Since when it is so.
    pub since: Instant,
    /// The last listing that found it.
    pub round: u64,
}

/// What an upload's file says of itself.
pub(super) struct Mark {
    /// All of it is either synced or written under this boot.
    pub this_boot: bool,
    /// Who began the upload.
    pub owner: Option<Arc<str>>,
}

/// One opened DIR.
pub(super) struct Files {
    pub options: BlobOptions,
    pub disk: Arc<dyn Disk>,
    /// Whether opening a file that the kernel knows asks nobody else; see [`Files::open_place_now`].
    pub local: bool,
    /// This boot of the machine: what was written under it is in the page cache, if not on disk.
    pub boot_id: String,
    pub counts: Counts,
    /// The uploads as they were last seen.
    pub seen: Mutex<HashMap<UploadName, Seen>>,
    /// Listings so far.
    pub rounds: AtomicU64,
    uploads: DirSync,
    /// One for each folder of places: algorithm by algorithm, then by first byte.
    folders: Vec<DirSync>,
}

impl Files {
    /// Makes what folders are missing; `lenient`: see [`Files::make_folders`].
    pub fn open(
        options: BlobOptions,
        disk: Arc<dyn Disk>,
        lenient: bool,
    ) -> Result<Self, BlobError> {
        let mut files = Self {
            boot_id: disk.boot_id(),
            local: false,
            options,
            disk,
            counts: Counts::default(),
            seen: Mutex::default(),
            rounds: AtomicU64::new(0),
            uploads: DirSync::default(),
            folders: (0..Algorithm::ALL.len() * 256)
                .map(|_| DirSync::default())
                .collect(),
        };
        files.make_folders(lenient)?;
        files.local = is_local(&files.options.dir);
        Ok(files)
    }

    /// Where uploads are.
    pub fn uploads_dir(&self) -> PathBuf {
        self.options.dir.join("uploads")
    }

    /// The file of an upload.
    pub fn upload_path(&self, name: UploadName) -> PathBuf {
        self.uploads_dir().join(name.to_string())
    }

    /// Makes the file of an upload: 0600 whatever the umask, marked with this boot and with who began it.
    pub fn create_upload(&self, name: UploadName, owner: Option<&str>) -> Result<Held, BlobError> {
        let path = self.upload_path(name);
        let made = self.disk.create(&path);
        let file = made.map_err(|e| self.fault("make", &path, 0, e))?;
        let file = Held::take(file, &path)?;
        self.mark(&file, owner);
        Ok(file)
    }

    /// The file of an upload, to be written to; `None` if there is none, `Locked` if it has a writer, `Damaged` if
    /// something else has its name.
    pub fn open_upload(&self, name: UploadName) -> Result<Option<Held>, BlobError> {
        let path = self.upload_path(name);
        let is_file = match path.symlink_metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            about => about.map_err(BlobError::io("look at", &path))?.is_file(),
        };
        if !is_file {
            return Err(BlobError::Damaged(path.display().to_string()));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags(datadir::NO_WAIT.bits().cast_signed());
        match options.open(&path) {
            Ok(file) => Held::take(file, &path).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(BlobError::io("open", &path)(e)),
        }
    }

    /// The file of an upload, to be read; `None` if there is none, or something else has its name.
    pub fn read_upload(&self, name: UploadName) -> Result<Option<File>, BlobError> {
        let path = self.upload_path(name);
        open_content(&path).map_err(BlobError::io("open", &path))
    }

    /// Whether the path leads to this very file, and that has so many bytes.
    pub fn is_at(file: &File, path: &Path, len: u64) -> Result<bool, BlobError> {
        let open = file.metadata().map_err(BlobError::io("look at", path))?;
        let named = match path.symlink_metadata() {
            Ok(named) => named,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(BlobError::io("look at", path)(e)),
        };
        let one = (open.dev(), open.ino()) == (named.dev(), named.ino());
        Ok(one && open.len() == len)
    }

    /// Notes that all of the file is either synced or written under this boot, and whose it is, for uploads that have no
    /// saved row yet. The mark is the boot's id, and the owner behind a line feed.
    pub fn mark(&self, file: &File, owner: Option<&str>) {
        let mut mark = self.boot_id.clone();
        if let Some(owner) = owner {
            mark.push('\n');
            mark.push_str(owner);
        }
        // Refused (no room, no such attributes): the saved row alone decides, which only costs bytes sent again.
        let _ = self.disk.set_mark(file, mark.as_bytes());
    }

    /// What [`Files::mark`] noted on the file.
    pub fn mark_of(&self, file: &File) -> Mark {
        let mark = self.disk.mark(file).ok();
        let text = mark.and_then(|mark| String::from_utf8(mark).ok());
        let text = text.unwrap_or_default();
        let (boot, owner) = match text.split_once('\n') {
            Some((boot, owner)) => (boot, Some(owner.into())),
            None => (text.as_str(), None),
        };
        Mark {
            this_boot: boot == self.boot_id,
            owner,
        }
    }

    /// Removes an upload's file; fine if it is gone.
    pub fn discard(&self, name: UploadName) -> Result<(), BlobError> {
        let path = self.upload_path(name);
        match self.disk.remove(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(BlobError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// Makes an upload's bytes durable; with `all`, its length and mode, too. One failure ends the upload.
    pub fn sync_upload(&self, name: UploadName, file: &File, all: bool) -> Result<(), BlobError> {
        let result = self.timed(|| self.disk.sync(file, all));
        result.map_err(|e| {
            // The kernel tells once and may drop the pages: a second fsync that succeeds would mean nothing. An empty
            // file says so after a restart, too. Where even that fails the file system takes no writes at all.
            let _ = self.disk.set_len(file, 0);
            self.fault("make durable", &self.upload_path(name), 0, e)
        })
    }

    /// Makes the bytes of somebody's file durable. It stays as it is if that fails.
    pub fn sync_source(&self, source: &File) -> Result<(), BlobError> {
        self.timed(|| self.disk.sync(source, true))
            .map_err(|e| BlobError::Source(format!("it cannot be made durable: {e}")))
    }

    /// Whether somebody's file is on the file system that content is on.
    pub fn is_beside(&self, about: &Metadata) -> bool {
        let blobs = self.options.dir.join("blobs").metadata();
        blobs.is_ok_and(|blobs| blobs.dev() == about.dev())
    }

    /// Makes the entries of DIR/uploads durable.
    pub fn sync_uploads(&self) -> Result<(), BlobError> {
        let dir = self.uploads_dir();
        self.uploads
            .sync(|| self.timed(|| self.disk.sync_dir(&dir)))
            .map_err(|e| self.fault("make durable", &dir, 0, e))
    }

    /// Makes a folder's entries durable, with one fsync for all who ask at once.
    pub fn sync_dir(&self, dir: &Path) -> Result<(), BlobError> {
        self.timed(|| self.disk.sync_dir(dir))
            .map_err(BlobError::io("make durable", dir))
    }

    fn timed(&self, fsync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let start = Instant::now();
        let result = fsync();
        self.counts.fsyncs.fetch_add(1, Ordering::Relaxed);
        let micros = start.elapsed().as_micros() as u64;
        self.counts
            .fsync_micros
            .fetch_add(micros, Ordering::Relaxed);
        result
    }

    /// Bytes that may still be written above the reserve.
    fn free(&self) -> Result<u64, BlobError> {
        let dir = self.uploads_dir();
        let disk =
            rustix::fs::statvfs(&dir).map_err(BlobError::io("ask for the free space of", &dir))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let owed = self.options.owed_bytes.load(Ordering::Relaxed);
        Ok(free.saturating_sub(self.options.reserve_bytes.saturating_add(owed)))
    }

    /// `NoSpace` if so many bytes more would touch the reserve.
    pub fn room_for(&self, needed: u64) -> Result<(), BlobError> {
        let free = self.free()?;
        if needed <= free {
            Ok(())
        } else {
            Err(BlobError::NoSpace { needed, free })
        }
    }

    /// The error for the file system's answer to `what`, which wanted `needed` bytes.
    pub fn fault(&self, what: &str, path: &Path, needed: u64, e: io::Error) -> BlobError {
        match e.kind() {
            // Never more than was refused: the count of free blocks says nothing of what a writer may use.
            ErrorKind::StorageFull => BlobError::NoSpace {
                needed,
                free: self.free().unwrap_or_default().min(needed),
            },
            ErrorKind::QuotaExceeded => BlobError::NoSpace { needed, free: 0 },
            _ => BlobError::io(what, path)(e),
        }
    }
}

/// Whether files of this folder are this machine's own. On others (FUSE, NFS, 9p) each opening is a question to somebody
/// who may take long to answer.
fn is_local(dir: &Path) -> bool {
    /// ext2 to ext4, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, overlayfs (`linux/magic.h`, and the sources of ZFS and
    /// bcachefs).
    const OWN: [i64; 8] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0xF2F5_2010,
        0x2FC1_2FC1,
        0xCA45_1A4E,
        0x0102_1994,
        0x794C_7630,
    ];
    // Only 32 bits of it are defined, and some machines extend their sign.
    rustix::fs::statfs(dir).is_ok_and(|fs| OWN.contains(&(fs.f_type & 0xFFFF_FFFF)))
}
