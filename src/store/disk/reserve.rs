//! The reserve: room on the disk for changes that remove, `DIR/reserve`, which nobody else gets.
//!
//! A preallocated file. Where the disk is full, what removes content, and what the operator and the server itself must write,
//! is lent pieces of it, one where a write finds no room ([`crate::store::lend`]). What is lent is owed: it is taken back as soon as
//! there is room, and until then changes that grow are refused unless they leave it free. Where the file system keeps
//! no room for a file, all of it is owed for good.

use crate::datadir;
use crate::store::StoreOptions;
use crate::store::disk::Opener;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The file's name in the data directory.
pub(in crate::store) const FILE: &str = "reserve";
/// What is lent at a time.
const PIECE: u64 = 1 << 20;
/// Less than this is not taken back on its own.
const LEAST: u64 = 256 << 10;
/// How long a file system is left alone that did not give what it said was free.
const REST: Duration = Duration::from_secs(5);

/// Who may have how much of the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum Lent {
    /// Nothing.
    Nothing,
    /// Half: the other half is left for the collector and the operator.
    Half,
    /// All that is there.
    All,
}

pub(in crate::store) struct Reserve {
    path: PathBuf,
    wanted: u64,
    /// Bytes that changes which grow leave free besides.
    floor: u64,
    held: Mutex<Held>,
    /// What is wanted and not held.
    owed: Arc<AtomicU64>,
    /// Bytes that stay whoever asks; all of them while nothing is lent.
    kept: AtomicU64,
    /// The disk was full since the reserve was last whole, which was told.
    told: AtomicBool,
    /// This file system keeps no room for a file, which was told.
    unable: AtomicBool,
    disk: Opener,
}

struct Held {
    bytes: u64,
    /// When the file system last refused, or a piece was left to others: for a while nothing is taken back.
    refused: Option<Instant>,
}

impl Reserve {
    /// The reserve that a store's options ask for.
    pub fn of(options: &StoreOptions, disk: &Opener) -> Self {
        let (wanted, floor) = (options.reserve_bytes, options.floor_bytes);
        Self::open(&options.dir, wanted, floor, Arc::clone(disk))
    }

    /// The reserve of a data directory, as much of it as there is room for. A disk too full for it is logged, not an error: the
    /// server is needed to delete something.
    fn open(dir: &Path, wanted: u64, floor: u64, disk: Opener) -> Self {
        let reserve = Self {
            path: dir.join(FILE),
            wanted,
            floor,
            held: Mutex::new(Held {
                bytes: 0,
                refused: None,
            }),
            owed: Arc::new(AtomicU64::new(wanted)),
            kept: AtomicU64::new(u64::MAX),
            told: AtomicBool::new(false),
            unable: AtomicBool::new(false),
            disk,
        };
        match reserve.find() {
            Ok(()) => reserve.restore(),
            Err(error) => reserve.cannot(&error),
        }
        if !reserve.is_held() {
            reserve.tell();
        }
        reserve
    }

    /// What an earlier run left, if it is really on the disk.
    fn find(&self) -> io::Result<()> {
        if self.wanted == 0 {
            // An earlier run may have wanted one.
            return datadir::remove_own(&self.path);
        }
        let file = self.file()?;
        let length = file.metadata()?.len();
        let shortened = if length > self.wanted {
            file.set_len(self.wanted)
        } else {
            Ok(())
        };
        let bytes = length.min(self.wanted);
        // A file that was copied may have its length and no room. One that has it is asked for nothing: XFS wants as much
        // again free before it sees that nothing is missing.
        if is_whole(&file, bytes)? || self.disk.allocate(&file, 0, bytes).is_ok() {
            self.set(&mut crate::store::lock_of(&self.held), bytes);
        }
        shortened
    }

    fn file(&self) -> io::Result<File> {
        datadir::open_own(&self.path)
    }

    fn set(&self, held: &mut Held, bytes: u64) {
        held.bytes = bytes;
        self.owed.store(self.wanted - bytes, Relaxed);
    }

    /// Whether all the room is set aside (true if none is wanted).
    pub fn is_held(&self) -> bool {
        self.owed.load(Relaxed) == 0
    }

    /// Whether some of it was given up and is to come back: not where the file system keeps none, and all is owed for good.
    pub fn is_lent(&self) -> bool {
        !self.is_held() && !self.unable.load(Relaxed)
    }

    /// Whether what grows finds no room until somebody deletes. Where no reserve can be set aside that is known only by what
    /// is free.
    pub fn is_full(&self) -> bool {
        self.is_lent() || self.unable.load(Relaxed) && self.room() < PIECE
    }

    /// Bytes that are wanted and not set aside: whatever grows leaves them free.
    pub fn owed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.owed)
    }

    /// Bytes that changes which grow may take.
    pub fn room(&self) -> u64 {
        self.rooms().0
    }

    /// The same, and the bytes that changes of clients which remove may: what is free and what they may be lent.
    pub fn rooms(&self) -> (u64, u64) {
        let (free, owed) = (self.free(), self.owed.load(Relaxed));
        let held = self.wanted.saturating_sub(owed);
        let room = free.saturating_sub(self.floor.saturating_add(owed));
        (room, free.saturating_add(held.saturating_sub(self.half())))
    }

    /// What changes of clients leave of the reserve.
    fn half(&self) -> u64 {
        self.wanted / 2
    }

    fn free(&self) -> u64 {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        // A file system that does not say how much is free shows at the write that it is full.
        self.disk.free(dir).unwrap_or(u64::MAX)
    }

    /// From now on the writes of this thread's work may have so much of the reserve.
    pub fn lend(&self, lent: Lent) {
        let kept = match lent {
            Lent::Nothing => u64::MAX,
            Lent::Half => self.half(),
            Lent::All => 0,
        };
        self.kept.store(kept, Relaxed);
    }

    /// Does something that may have all of the reserve.
    pub fn lent_to<T>(&self, work: impl FnOnce() -> T) -> T {
        self.lend(Lent::All);
        let done = work();
        self.lend(Lent::Nothing);
        done
    }

    /// Gives up a piece for a write that found no room, if this work may have it. Says whether there was one to give.
    pub fn give(&self) -> bool {
        self.give_up(PIECE, self.kept.load(Relaxed))
    }

    /// Gives up all that this work may have: for a sync that found no room, which is tried no second time.
    pub fn give_all(&self) -> bool {
        self.give_up(u64::MAX, self.kept.load(Relaxed))
    }

    /// Gives up a piece for small files beside the database, whatever the writer's work may have, and leaves them a moment to
    /// take it.
    pub fn give_to_files(&self) -> bool {
        crate::store::lock_of(&self.held).refused = Some(Instant::now());
        self.give_up(PIECE, 0)
    }

    fn give_up(&self, most: u64, kept: u64) -> bool {
        let mut held = crate::store::lock_of(&self.held);
        let free = held.bytes.saturating_sub(kept);
        let piece = free.min(most);
        if piece == 0 {
            return false;
        }
        let left = held.bytes - piece;
        if let Err(error) = self.file().and_then(|file| file.set_len(left)) {
            tracing::error!(%error, "the disk is full and the reserve cannot be given up");
            return false;
        }
        self.set(&mut held, left);
        drop(held);
        self.tell();
        true
    }

    fn tell(&self) {
        if !self.unable.load(Relaxed) && !self.told.swap(true, Relaxed) {
            tracing::warn!(
                bytes = self.wanted,
                "the disk is full: the reserve was given up, and pushes are refused until there is room for it again; delete what nobody needs, then collect"
            );
        }
    }

    fn cannot(&self, error: &io::Error) {
        // No room for the file's name is a full disk as well.
        if matches!(
            Errno::from_io_error(error),
            Some(Errno::NOSPC | Errno::DQUOT)
        ) {
            self.tell();
        } else if !self.unable.swap(true, Relaxed) {
            tracing::warn!(%error, file = %self.path.display(), bytes = self.wanted, "no reserve can be set aside: so much of the disk is left free instead");
        }
    }

    /// Takes back what is owed, as far as there is room.
    pub fn restore(&self) {
        let owed = self.owed.load(Relaxed);
        if owed == 0 {
            return;
        }
        let mut held = crate::store::lock_of(&self.held);
        if held.refused.is_some_and(|at| at.elapsed() < REST) {
            return;
        }
        let more = owed.min(self.free());
        if more < LEAST.min(owed) {
            return;
        }
        held.refused = None;
        let grown = self
            .file()
            .and_then(|file| self.grow(&file, held.bytes, more));
        match grown {
            Ok(0) => held.refused = Some(Instant::now()),
            Ok(more) => {
                let bytes = held.bytes + more;
                self.set(&mut held, bytes);
                self.unable.store(false, Relaxed);
            }
            Err(error) => {
                held.refused = Some(Instant::now());
                self.cannot(&error);
            }
        }
        if held.bytes == self.wanted && self.told.swap(false, Relaxed) {
            tracing::info!(
                bytes = self.wanted,
                "the reserve is set aside again, and pushes are taken"
            );
        }
    }

    /// Gives the file room for `more` bytes behind those that are held, or for as many as the disk has; answers how many.
    fn grow(&self, file: &File, from: u64, more: u64) -> io::Result<u64> {
        let before = file.metadata()?.len();
        let mut more = more;
        while more >= 4096 {
            let Err(error) = self.disk.allocate(file, from, more) else {
                return Ok(more);
            };
            // Half a piece is none: what it took goes back, and nothing of what was there.
            file.set_len(before)?;
            // The count of free blocks is not what each may use.
            if !matches!(error, Errno::NOSPC | Errno::DQUOT) {
                return Err(error.into());
            }
            more /= 2;
        }
        Ok(0)
    }
}

/// Whether the file has its first bytes on the disk, and not as a hole.
fn is_whole(file: &File, bytes: u64) -> io::Result<bool> {
    Ok(file.metadata()?.blocks() * 512 >= bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;
    use crate::store::disk::{self, Disk, DiskFile};

    const WANTED: u64 = 4 << 20;

    /// A disk with so many bytes free.
    struct Free(AtomicU64);

    impl Disk for Free {
        fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
            disk::machine().open(path)
        }
        fn free(&self, _dir: &Path) -> Option<u64> {
            Some(self.0.load(Relaxed))
        }
    }

    fn has(dir: &Path) -> u64 {
        dir.join(FILE).metadata().unwrap().blocks() * 512
    }

    #[test]
    fn pieces_are_lent_to_those_who_may_have_them_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(Free(AtomicU64::new(WANTED)));
        let reserve = Reserve::open(dir.path(), WANTED, 0, Arc::clone(&free) as _);
        assert!(reserve.is_held() && has(dir.path()) == WANTED);
        assert!(!reserve.give() && !reserve.give_all(), "to nobody yet");
        reserve.lend(Lent::Half);
        assert!(reserve.give() && reserve.give() && !reserve.give());
        assert_eq!(has(dir.path()), WANTED / 2);
        reserve.lend(Lent::All);
        assert!(reserve.give() && reserve.give_all() && !reserve.give());
        assert_eq!((has(dir.path()), reserve.owed().load(Relaxed)), (0, WANTED));
        reserve.lend(Lent::Nothing);
        // As far as there is room, and no change that grows comes before it.
        free.0.store(3 << 20, Relaxed);
        assert_eq!(reserve.room(), 0);
        reserve.restore();
        assert_eq!(has(dir.path()), 3 << 20);
        free.0.store(WANTED, Relaxed);
        assert_eq!(reserve.room(), 3 << 20);
        reserve.restore();
        assert!(reserve.is_held() && has(dir.path()) == WANTED);
        assert_eq!(reserve.room(), WANTED);
    }

    #[test]
    fn the_next_start_holds_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let open = |wanted| Reserve::open(dir.path(), wanted, 100, disk::machine());
        drop(open(WANTED));
        let less = open(WANTED / 2);
        assert!(less.is_held() && has(dir.path()) == WANTED / 2);
        less.lent_to(|| assert!(less.give_all()));
        assert!(!less.give_all());
        drop(less);
        let again = open(WANTED);
        assert!(again.is_held() && has(dir.path()) == WANTED);
        let none = open(0);
        assert!(none.is_held() && !dir.path().join(FILE).exists());
        none.lent_to(|| assert!(!none.give()));
    }
}
