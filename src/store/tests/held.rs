//! The reserve on disks that give no room for what has it already, or keep none at all.

use super::super::disk::{Disk, DiskFile, Opener, machine};
use super::super::reserve::{FILE, Lent, Reserve};
use super::*;
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::AtomicU64;

const WANTED: u64 = 1 << 20;

/// A disk that answers every wish for room with this error, if there is one; and how much it says is free.
#[derive(Clone)]
struct Refusing {
    error: Arc<Mutex<Option<Errno>>>,
    free: Arc<AtomicU64>,
}

impl Refusing {
    fn new(error: Option<Errno>) -> (Self, Opener) {
        let disk = Self {
            error: Arc::new(Mutex::new(error)),
            free: Arc::new(AtomicU64::new(1 << 40)),
        };
        (disk.clone(), Arc::new(disk))
    }

    fn refuse(&self, error: Option<Errno>) {
        *lock_of(&self.error) = error;
    }
}

impl Disk for Refusing {
    fn open(&self, path: &Path) -> Done<Box<dyn DiskFile>> {
        machine().open(path)
    }
    fn free(&self, _dir: &Path) -> Option<u64> {
        Some(self.free.load(SeqCst))
    }
    fn allocate(&self, file: &File, from: u64, bytes: u64) -> Result<(), Errno> {
        let error = *lock_of(&self.error);
        error.map_or_else(|| machine().allocate(file, from, bytes), Err)
    }
}

#[test]
fn what_the_file_has_is_held_though_the_disk_gives_nothing_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, opener) = Refusing::new(None);
    let open = || Reserve::of(&options(dir.path()), &opener);
    assert!(open().is_held());
    disk.refuse(Some(Errno::NOSPC));
    let again = open();
    assert!(again.is_held());
    again.lend(Lent::Half);
    assert!(again.give());
    again.lend(Lent::Nothing);
    again.restore();
    drop(again);
    let half = open();
    assert_eq!(half.owed().load(SeqCst), WANTED / 2);
    let file = dir.path().join(FILE).metadata().unwrap();
    assert_eq!((file.len(), file.blocks() * 512), (WANTED / 2, WANTED / 2));
}

#[test]
fn a_file_without_its_room_is_filled_and_never_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let sparse = lock::open_private(&path).unwrap();
    sparse.set_len(WANTED).unwrap();
    let (disk, opener) = Refusing::new(Some(Errno::NOSPC));
    let open = || Reserve::of(&options(dir.path()), &opener);
    assert_eq!(open().owed().load(SeqCst), WANTED);
    assert_eq!(path.metadata().unwrap().len(), WANTED);
    disk.refuse(None);
    assert!(open().is_held());
    assert_eq!(path.metadata().unwrap().blocks() * 512, WANTED);
}

#[test]
fn a_disk_that_keeps_no_room_is_full_by_what_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, opener) = Refusing::new(Some(Errno::OPNOTSUPP));
    let store = Store::open_with(options(dir.path()), opener).unwrap();
    for key in ["a", "b", "c"] {
        put(&store, key, "1").unwrap();
    }
    let counters = store.counters();
    assert_eq!(counters.reserve_owed, WANTED);
    // The log takes changes.
    assert!(counters.settled < counters.commits, "{counters:?}");
    assert!(!store.is_full());
    disk.free.store(WANTED, SeqCst);
    assert!(store.is_full());
    assert!(put(&store, "d", "1").unwrap_err().is_full());
    disk.free.store(1 << 40, SeqCst);
    put(&store, "d", "1").unwrap();
    assert!(!store.is_full());
}

/// As `app` and others wrap what the system says.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be made")]
struct Wrapped(#[source] std::io::Error);

#[test]
fn what_a_start_must_make_is_lent_a_piece_and_made_once_more() {
    let (_dir, store) = store();
    let mut tries = 0;
    let mut make = |kind: ErrorKind| {
        let made = store.with_room(|| {
            tries += 1;
            Err::<(), _>(Wrapped(kind.into()))
        });
        assert!(made.is_err());
        (std::mem::take(&mut tries), store.counters().reserve_owed)
    };
    assert_eq!(make(ErrorKind::PermissionDenied), (1, 0));
    assert_eq!(make(ErrorKind::StorageFull), (2, WANTED));
    assert_eq!(make(ErrorKind::StorageFull), (1, WANTED), "none is left");
}
