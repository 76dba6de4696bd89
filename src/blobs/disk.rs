//! The system calls that change content, and only these; reading needs no seam.
//!
//! [`Disk`] stands between the order in which `files` and `ingest` do things and the machine that does them, so that
//! the power-cut tests can put in a disk that forgets what was not synced. Each method is one step that a power cut may
//! come before or after.

use super::buffer::BLOCK;
use crate::datadir;
use crate::types::wall_ms;
use rustix::fs::{Advice, AtFlags, CWD, OFlags, RenameFlags, XattrFlags, fcntl_setfl};
use rustix::io::Errno;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A disk. Nothing that it was told is durable before the matching sync has returned.
pub(crate) trait Disk: Send + Sync {
    /// A name for this boot of the machine: what was written under it is in the page cache, if not on disk.
    fn boot_id(&self) -> String;
    /// Makes one folder, mode 0700 whatever the umask; `false` if it is there, `InvalidInput` if something else is. Its folder
    /// must be synced.
    fn make_dir(&self, path: &Path) -> io::Result<bool>;
    /// Makes a file that was not there, mode 0600 whatever the umask, for reading and writing. Its folder must be synced.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `bytes`. The file must be synced.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Asks the disk to begin with bytes that were written, so that a sync later finds less to do. A wish: it makes nothing
    /// durable, and whether it is heard shows nowhere.
    fn begin_sync(&self, file: &File, from: u64, len: u64) {
        let _ = (file, from, len);
    }
    /// Cuts or lengthens a file. It must be synced.
    fn set_len(&self, file: &File, len: u64) -> io::Result<()>;
    /// Sets the file's mark. The file must be synced, with all.
    fn set_mark(&self, file: &File, mark: &[u8]) -> io::Result<()>;
    /// The file's mark; an error if it has none or the file system keeps none.
    fn mark(&self, file: &File) -> io::Result<Vec<u8>>;
    /// Makes a file's bytes and length durable; with `all`, its mode and mark, too. It says nothing of the file's name.
    fn sync(&self, file: &File, all: bool) -> io::Result<()>;
    /// Makes a folder's entries durable: what was made, renamed and removed there before this began.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames without ever replacing. Both folders must be synced.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file one more name, without ever replacing. The folder of the new name must be synced.
    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Has `file`, which is empty, share all bytes of `source` from now on, until either is written to. The file must be synced.
    /// An error says that it does not: few file systems can.
    fn reflink(&self, file: &File, source: &File) -> io::Result<()> {
        let _ = (file, source);
        Err(ErrorKind::Unsupported.into())
    }
    /// Gives an open file one more name, whatever it had, without ever replacing. The folder of the new name must be synced.
    fn link_open(&self, file: &File, to: &Path) -> io::Result<()> {
        let _ = (file, to);
        Err(ErrorKind::Unsupported.into())
    }
    /// Removes a file. Its folder must be synced.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Where [`Disk::mark`] is kept.
const MARK: &str = "user.dryport.boot";
/// The longest mark that is read, in bytes.
const MARK_MAX: usize = 1024;

/// From so many bytes on, a write goes past the page cache.
const DIRECT: usize = 256 << 10;
/// So many such writes at once at most. Each keeps its thread until the disk has the bytes, and a slow disk may not
/// take the threads of those who read; the page cache takes what is more.
const AT_ONCE: usize = 16;

/// The machine's own file system.
#[derive(Default)]
pub(super) struct Machine {
    /// Writes past the page cache under way.
    direct: AtomicUsize,
}

impl Machine {
    /// Writes past the page cache what of `bytes` may go there; answers how much that was.
    fn write_direct(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (at, whole) = (
            bytes.as_ptr().align_offset(BLOCK),
            bytes.len() / BLOCK * BLOCK,
        );
        if whole < DIRECT || at != 0 || !offset.is_multiple_of(BLOCK as u64) {
            return Ok(0);
        }
        let written = if self.direct.fetch_add(1, Ordering::Relaxed) < AT_ONCE {
            written_direct(file, &bytes[..whole], offset)
        } else {
            Ok(0)
        };
        self.direct.fetch_sub(1, Ordering::Relaxed);
        written
    }
}

/// One direct write. Afterwards the file is written to as before, and read: it has the flag for this one call. Where the
/// file system knows no such writes, or wants other bounds than [`BLOCK`], none of the bytes are written.
fn written_direct(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    // Of the flags that can be set the file needs none: `create` asks for none, and what `open_upload` asks for means
    // nothing to a regular file.
    if fcntl_setfl(file, OFlags::DIRECT).is_err() {
        return Ok(0);
    }
    let written = file.write_at(bytes, offset);
    fcntl_setfl(file, OFlags::empty())?;
    written.or_else(|error| {
        let of_the_disk = error.raw_os_error() == Some(Errno::IO.raw_os_error())
            || matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
            );
        // Else it may be of this way of writing: the other one, over the same bytes, tells.
        if of_the_disk { Err(error) } else { Ok(0) }
    })
}

impl Disk for Machine {
    /// The kernel's name. Without one every start counts as another boot, which only costs bytes sent again.
    fn boot_id(&self) -> String {
        match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
            _ => format!("start-{}-{}", std::process::id(), wall_ms()),
        }
    }

    fn make_dir(&self, path: &Path) -> io::Result<bool> {
        datadir::make_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(file)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = self.write_direct(file, bytes, offset)?;
        file.write_all_at(&bytes[written..], offset + written as u64)
    }

    fn begin_sync(&self, file: &File, from: u64, len: u64) {
        // Linux begins to write what is dirty before it forgets what is not, and does not wait for it.
        let _ = rustix::fs::fadvise(file, from, NonZeroU64::new(len), Advice::DontNeed);
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn set_mark(&self, file: &File, mark: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::fsetxattr(
            file,
            MARK,
            mark,
            XattrFlags::empty(),
        )?)
    }

    fn mark(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut mark = vec![0; MARK_MAX];
        let len = rustix::fs::fgetxattr(file, MARK, &mut mark[..])?;
        mark.truncate(len);
        Ok(mark)
    }

    fn sync(&self, file: &File, all: bool) -> io::Result<()> {
        if all {
            file.sync_all()
        } else {
            file.sync_data()
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // What is no folder is not opened: a pipe would wait.
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        dir.sync_all()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one step from upload to place"
    )]
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
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

    #[expect(
        clippy::disallowed_methods,
        reason = "from upload to place, where the upload stays until the commit"
    )]
    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn reflink(&self, file: &File, source: &File) -> io::Result<()> {
        Ok(rustix::fs::ioctl_ficlone(file, source)?)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a file that was handed over, and is to be content by that name"
    )]
    fn link_open(&self, file: &File, to: &Path) -> io::Result<()> {
        // The other way (AT_EMPTY_PATH) is root's alone.
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        let follow = AtFlags::SYMLINK_FOLLOW;
        Ok(rustix::fs::linkat(CWD, from.as_str(), CWD, to, follow)?)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "uploads and places are this module's own files"
    )]
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Buffer;
    use std::io::{Read, Seek, SeekFrom};

    /// `len` bytes of a pattern, as pieces come: at a multiple of a block.
    fn piece(len: usize) -> Buffer {
        let mut buffer = Buffer::with_capacity(len);
        let pattern: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        assert_eq!(buffer.fill(&pattern), len);
        buffer
    }

    fn in_folder(folder: &Path) {
        let dir = tempfile::tempdir_in(folder).expect("a folder");
        let path = dir.path().join("file");
        let machine = Machine::default();
        let mut file = machine.create(&path).expect("made");
        let mut wanted = Vec::new();
        // Whole blocks, blocks and a rest, what no longer begins at a block, and few bytes.
        for len in [DIRECT, DIRECT + 100, DIRECT, 5] {
            let piece = piece(len);
            machine
                .write_at(&file, &piece, wanted.len() as u64)
                .expect("written");
            wanted.extend_from_slice(&piece);
        }
        // From memory that begins anywhere.
        let piece = piece(DIRECT + 1);
        machine
            .write_at(&file, &piece[1..], wanted.len() as u64)
            .expect("written");
        wanted.extend_from_slice(&piece[1..]);
        let flags = rustix::fs::fcntl_getfl(&file).expect("flags");
        assert!(!flags.contains(OFlags::DIRECT), "it is read as any file");
        machine.sync(&file, true).expect("synced");
        file.seek(SeekFrom::Start(0)).expect("at the begin");
        let mut found = Vec::new();
        file.read_to_end(&mut found).expect("read");
        assert!(found == wanted);
    }

    #[test]
    fn what_is_written_is_read() {
        in_folder(&std::env::temp_dir());
        in_folder(Path::new("/dev/shm"));
    }

    #[test]
    fn only_whole_blocks_go_past_the_page_cache() {
        let dir = tempfile::tempdir().expect("a folder");
        let machine = Machine::default();
        let path = dir.path().join("file");
        let file = machine.create(&path).expect("made");
        let piece = piece(DIRECT + BLOCK + 7);
        let bytes = &piece;
        let direct =
            |bytes: &[u8], offset| machine.write_direct(&file, bytes, offset).expect("written");
        for none in [
            direct(&bytes[..DIRECT - 1], 0),
            direct(&bytes[1..], 0),
            direct(bytes, 7),
        ] {
            assert_eq!(none, 0);
        }
        machine.direct.store(AT_ONCE, Ordering::Relaxed);
        assert_eq!(direct(bytes, 0), 0, "enough are under way");
        machine.direct.store(0, Ordering::Relaxed);
        let mut asking = OpenOptions::new();
        asking
            .write(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed());
        let known = asking.open(&path).is_ok();
        let whole = if known { DIRECT + BLOCK } else { 0 };
        assert_eq!(
            direct(bytes, 0),
            whole,
            "the file system knows them: {known}"
        );
        assert_eq!(machine.direct.load(Ordering::Relaxed), 0);
    }
}
