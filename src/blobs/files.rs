//! The system calls below DIR/blobs and DIR/uploads, each in its durable form.

use super::place::{Place, UploadName};
use super::sync::DirSync;
use super::{BlobError, BlobOptions};
use crate::types::{Algorithm, Digest, wall_ms};
use rustix::fs::{CWD, RenameFlags, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Numbers that [`super::BlobCounters`] is read from.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub fsyncs: AtomicU64,
    pub fsync_micros: AtomicU64,
    pub bytes_in: AtomicU64,
    pub blobs_sealed: AtomicU64,
}

/// One opened DIR.
pub(super) struct Files {
    pub options: BlobOptions,
    /// This boot of the machine: what was written under it is in the page cache, if not on disk.
    pub boot_id: String,
    pub counts: Counts,
    uploads: DirSync,
    /// One for each folder of places: algorithm by algorithm, then by first byte.
    folders: Vec<DirSync>,
}

/// Says under which boot an upload's bytes were written, for uploads that have no saved row yet. Best effort: where a
/// file system keeps no such attributes, only saved rows count.
const BOOT_MARK: &str = "user.dryport.boot";

impl Files {
    pub fn open(options: BlobOptions) -> Result<Self, BlobError> {
        let files = Self {
            boot_id: boot_id(),
            options,
            counts: Counts::default(),
            uploads: DirSync::default(),
            folders: (0..Algorithm::ALL.len() * 256)
                .map(|_| DirSync::default())
                .collect(),
        };
        files.make_folders()?;
        Ok(files)
    }

    fn make_folders(&self) -> Result<(), BlobError> {
        let dir = &self.options.dir;
        if let Some(above) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            let make = DirBuilder::new().recursive(true).mode(0o700).create(above);
            make.map_err(BlobError::io("make the folder", above))?;
            self.make_folder_in(above, dir)?;
        } else {
            make_folder(dir)?;
        }
        let blobs = dir.join("blobs");
        self.make_folder_in(dir, &blobs)?;
        self.make_folder_in(dir, &self.uploads_dir())?;
        for algorithm in Algorithm::ALL {
            let above = blobs.join(algorithm.name());
            self.make_folder_in(&blobs, &above)?;
            let mut made = false;
            for byte in 0..=u8::MAX {
                made |= make_folder(&above.join(format!("{byte:02x}")))?;
            }
            if made {
                self.sync_dir(&above)?;
            }
        }
        Ok(())
    }

    fn make_folder_in(&self, above: &Path, path: &Path) -> Result<(), BlobError> {
        if make_folder(path)? {
            self.sync_dir(above)
        } else {
            Ok(())
        }
    }

    pub fn uploads_dir(&self) -> PathBuf {
        self.options.dir.join("uploads")
    }

    pub fn upload_path(&self, name: UploadName) -> PathBuf {
        self.uploads_dir().join(name.to_string())
    }

    pub fn place_path(&self, place: &Place) -> PathBuf {
        self.options.dir.join("blobs").join(&place.0)
    }

    /// Makes the file of an upload: 0600 whatever the umask, marked with this boot.
    pub fn create_upload(&self, name: UploadName) -> Result<File, BlobError> {
        let path = self.upload_path(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| self.fault("make", &path, 0, e))?;
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(BlobError::io("set the mode of", &path))?;
        self.mark(&file);
        Ok(file)
    }

    /// The file of an upload; `None` if there is none.
    pub fn open_upload(&self, name: UploadName) -> Result<Option<File>, BlobError> {
        let path = self.upload_path(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(BlobError::io("open", &path)(e)),
        }
    }

    /// Notes that all of the file is either synced or written under this boot.
    pub fn mark(&self, file: &File) {
        // Refused (no room, no such attributes): the saved row alone decides, which only costs bytes sent again.
        let _ = rustix::fs::fsetxattr(
            file,
            BOOT_MARK,
            self.boot_id.as_bytes(),
            XattrFlags::empty(),
        );
    }

    /// Whether [`Files::mark`] was called on the file under this boot.
    pub fn is_marked(&self, file: &File) -> bool {
        let mut value = [0; 128];
        let len = rustix::fs::fgetxattr(file, BOOT_MARK, &mut value[..]);
        len.is_ok_and(|len| value.get(..len) == Some(self.boot_id.as_bytes()))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "uploads are this module's own files"
    )]
    pub fn discard(&self, name: UploadName) -> Result<(), BlobError> {
        let path = self.upload_path(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(BlobError::io("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// Makes an upload's bytes durable; with `all`, its length and mode, too. One failure ends the upload.
    pub fn sync_upload(&self, name: UploadName, file: &File, all: bool) -> Result<(), BlobError> {
        let result = self.timed(|| {
            if all {
                file.sync_all()
            } else {
                file.sync_data()
            }
        });
        result.map_err(|e| {
            // The kernel tells once and may drop the pages: a second fsync that succeeds would mean nothing. An empty
            // file says so after a restart, too. Where even that fails the file system takes no writes at all.
            let _ = file.set_len(0);
            self.fault("make durable", &self.upload_path(name), 0, e)
        })
    }

    /// Makes the entries of DIR/uploads durable.
    pub fn sync_uploads(&self) -> Result<(), BlobError> {
        let dir = self.uploads_dir();
        self.uploads
            .sync(|| self.timed(|| File::open(&dir)?.sync_all()))
            .map_err(|e| self.fault("make durable", &dir, 0, e))
    }

    /// Moves a synced upload to its place and makes that durable.
    pub fn place(&self, name: UploadName, digest: &Digest) -> Result<Place, BlobError> {
        let place = Place::of(digest, name.id);
        let to = self.place_path(&place);
        rename_new(&self.upload_path(name), &to)
            .map_err(|e| self.fault("move an upload to", &to, 0, e))?;
        self.sync_folder(digest)?;
        Ok(place)
    }

    pub fn open_place(&self, place: &Place, size: u64) -> Result<File, BlobError> {
        place.digest()?;
        let path = self.place_path(place);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(BlobError::Damaged(place.0.clone()));
            }
            Err(e) => return Err(BlobError::io("open", &path)(e)),
        };
        let meta = file.metadata().map_err(BlobError::io("look at", &path))?;
        if meta.is_file() && meta.len() == size {
            Ok(file)
        } else {
            Err(BlobError::Damaged(place.0.clone()))
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "places are this module's own files"
    )]
    pub fn remove(&self, places: &[Place]) -> Result<(), BlobError> {
        let mut result = Ok(());
        let mut folders = BTreeSet::new();
        for place in places {
            // One that cannot go does not keep the others; a text that is no place removes nothing.
            let removed = place.digest().and_then(|digest| {
                folders.insert((digest.algorithm(), digest.as_key()[1]));
                let path = self.place_path(place);
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != ErrorKind::NotFound => {
                        Err(BlobError::io("remove", &path)(e))
                    }
                    _ => Ok(()),
                }
            });
            result = result.and(removed);
        }
        for (algorithm, byte) in folders {
            result = result.and(self.sync_folder_of(algorithm, byte));
        }
        result
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
        let fsync = || self.timed(|| File::open(&dir)?.sync_all());
        match self.folders.get(kind * 256 + usize::from(byte)) {
            Some(folder) => folder.sync(fsync),
            None => fsync(),
        }
        .map_err(|e| self.fault("make durable", &dir, 0, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), BlobError> {
        self.timed(|| File::open(dir)?.sync_all())
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
        Ok(free.saturating_sub(self.options.reserve_bytes))
    }

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

/// Renames without ever replacing: a place is used once.
#[expect(
    clippy::disallowed_methods,
    reason = "the one step from upload to place"
)]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems do not know the flag. The name ends in 128 random bits, so looking first is enough.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match to.symlink_metadata() {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(e) if e.kind() == ErrorKind::NotFound => std::fs::rename(from, to),
            Err(e) => Err(e),
        },
        other => other.map_err(io::Error::from),
    }
}

/// Makes one folder with mode 0700 whatever the umask; whether it was made now.
fn make_folder(path: &Path) -> Result<bool, BlobError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            std::fs::set_permissions(path, Permissions::from_mode(0o700))
                .map_err(BlobError::io("set the mode of", path))?;
            Ok(true)
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(e) => Err(BlobError::io("make the folder", path)(e)),
    }
}

/// The kernel's name for this boot. Without one every start counts as another boot, which only costs bytes sent again.
fn boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => format!("start-{}-{}", std::process::id(), wall_ms()),
    }
}
