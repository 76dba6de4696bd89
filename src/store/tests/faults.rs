//! Disks that are full or cannot sync, under the log or under redb's own file.

use super::super::disk::{Disk, DiskFile, Opener};
use super::*;
use std::fs::File;
use std::sync::atomic::AtomicUsize;

/// Whether the disk is full now; asked at each sync.
type Full = Arc<dyn Fn() -> bool + Send + Sync>;

/// A file that fails to sync, as if the disk were full, on demand.
struct BadFile {
    file: File,
    full: Full,
}

impl std::fmt::Debug for BadFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl DiskFile for BadFile {
    fn len(&self) -> std::io::Result<u64> {
        DiskFile::len(&self.file)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        DiskFile::read(&self.file, offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        if (self.full)() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        DiskFile::write(&self.file, offset, data)
    }
    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

/// A disk whose log, and whose database, fail when they are told to.
#[derive(Default, Clone)]
struct BadDisk {
    log: Arc<AtomicBool>,
    database: Arc<AtomicBool>,
}

fn bad_file(path: &Path, full: Full) -> Result<BadFile, StoreError> {
    let file = lock::open_private(path)?;
    Ok(BadFile { file, full })
}

fn when(told: &Arc<AtomicBool>) -> Full {
    let told = Arc::clone(told);
    Arc::new(move || told.load(SeqCst))
}

impl Disk for BadDisk {
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        Ok(Box::new(bad_file(path, when(&self.database))?))
    }
    fn open_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        Ok(Box::new(bad_file(path, when(&self.log))?))
    }
}

/// A store on such a disk, which is well.
fn bad_store() -> (tempfile::TempDir, BadDisk, Store) {
    let dir = tempfile::tempdir().unwrap();
    let disk = BadDisk::default();
    let opener: Opener = Arc::new(disk.clone());
    let store = Store::open_with(options(dir.path()), opener).unwrap();
    (dir, disk, store)
}

#[test]
fn a_failed_sync_of_the_log_is_unknown_and_the_store_reopens_in_place() {
    let (dir, disk, store) = bad_store();
    put(&store, "before", "1").unwrap();
    let all = [&disk.log, &disk.database];
    for full in all {
        full.store(true, SeqCst);
    }
    let error = put(&store, "during", "1").unwrap_err();
    assert!(
        matches!(error, StoreError::Unknown { no_space: true, .. }),
        "{error}"
    );
    assert_eq!(error.kind(), StoreErrorKind::NoSpace);
    until(|| store.counters().reserve_owed == 1 << 20);
    assert_eq!(dir.path().join("reserve").metadata().unwrap().len(), 0);
    // Nobody may queue up any more; readers see what was acknowledged, not what the kernel alone knows.
    until(|| put(&store, "down", "1") == Err(StoreError::NoSpace("no storage space".into())));
    assert_eq!(get(&store, "before").as_deref(), Some("1"));
    assert_eq!(get(&store, "during"), None);
    for full in all {
        full.store(false, SeqCst);
    }
    until(|| put(&store, "after", "1").is_ok());
    assert_eq!(get(&store, "before").as_deref(), Some("1"));
    let counters = store.counters();
    assert!(
        counters.failed_commits >= 1 && counters.reopened >= 1,
        "{counters:?}"
    );
    store.close();
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(get(&store, "after").as_deref(), Some("1"));
}

#[test]
fn memory_ends_with_a_change_that_may_yet_turn_out_to_stand() {
    use crate::store::epochs::Subject;
    let (_dir, disk, store) = bad_store();
    let epochs = store.epochs();
    // It declares nothing: what ends is all.
    let now = || [Subject::Accounts, Subject::Shown("a")].map(|subject| epochs.now(subject));
    let is_new = |before: [_; 2]| now().iter().zip(before).all(|(now, then)| *now != then);
    for full in [&disk.log, &disk.database] {
        full.store(true, SeqCst);
    }
    let before = now();
    let error = put(&store, "during", "1").unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    // Once before the answer, and again when the file is what it will be.
    let answered = now();
    assert!(is_new(before));
    thread::sleep(Duration::from_millis(300));
    assert_eq!(now(), answered);
    for full in [&disk.log, &disk.database] {
        full.store(false, SeqCst);
    }
    until(|| is_new(answered));
    until(|| put(&store, "after", "1").is_ok());
    let open = now();
    put(&store, "later", "1").unwrap();
    assert_eq!(now(), open);
}

#[test]
fn a_log_that_fails_alone_takes_nothing_along() {
    let (dir, disk, store) = bad_store();
    put(&store, "before", "1").unwrap();
    disk.log.store(true, SeqCst);
    let error = put(&store, "during", "1").unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    assert_eq!(get(&store, "before").as_deref(), Some("1"));
    disk.log.store(false, SeqCst);
    until(|| put(&store, "after", "1").is_ok());
    let during = get(&store, "during");
    store.close();
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(get(&store, "before").as_deref(), Some("1"));
    assert_eq!(get(&store, "after").as_deref(), Some("1"));
    assert_eq!(get(&store, "during"), during, "what was seen stays");
}

#[test]
fn what_the_log_took_outlives_a_database_that_cannot_be_synced() {
    let (dir, disk, store) = bad_store();
    disk.database.store(true, SeqCst);
    let key = |n: u32| -> &'static str { format!("k{n:04}").leak() };
    let mut acknowledged = 0;
    let error = loop {
        match put(&store, key(acknowledged), "1") {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "redb was never asked");
    };
    assert!(
        matches!(error, StoreError::Unknown { no_space: true, .. }),
        "{error}"
    );
    assert!(acknowledged > 8, "{acknowledged}");
    let all_there = || {
        let there = (0..acknowledged).filter(|n| get(&store, key(*n)).is_some());
        assert_eq!(there.count(), acknowledged as usize);
    };
    until(|| put(&store, "refused", "1").is_err_and(|e| e.kind() == StoreErrorKind::NoSpace));
    all_there();
    disk.database.store(false, SeqCst);
    until(|| put(&store, "after", "1").is_ok());
    all_there();
    store.close();
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(get(&store, key(acknowledged - 1)).as_deref(), Some("1"));
}

/// A disk that is full after so many syncs of the database; if there is such a file, until that is empty.
#[derive(Clone)]
struct FullAfter(Arc<AtomicUsize>, Option<PathBuf>);

fn full_after(syncs: usize, until: Option<PathBuf>) -> Opener {
    Arc::new(FullAfter(Arc::new(AtomicUsize::new(syncs)), until))
}

impl Disk for FullAfter {
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        let Self(left, until) = self.clone();
        let full = move || {
            let room = until.as_ref().map(|file| file.metadata().unwrap().len());
            room != Some(0)
                && left
                    .fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1))
                    .is_err()
        };
        Ok(Box::new(bad_file(path, Arc::new(full))?))
    }
}

/// The directory of a store with few large rows behind the place of many.
fn emptied() -> tempfile::TempDir {
    let (dir, store) = store();
    for n in 0..60_u8 {
        let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "put", move |txn| {
            txn.put(Table::Bytes, &[n], &vec![n; 30_000])
        });
        done.unwrap();
    }
    let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "delete", |txn| {
        (0..50).try_for_each(|n| txn.delete(Table::Bytes, &[n]))
    });
    done.unwrap();
    store.close();
    dir
}

/// Compacts on such a disk; all rows are there afterwards.
fn compacted(dir: &Path, disk: &Opener) -> Done<()> {
    let done = compact_on(&options(dir), disk);
    let store = Store::open(options(dir)).unwrap();
    let rows: Done<Vec<Row>> = store.read(|r| r.scan(Table::Bytes, &[], &[], 100));
    let rows = rows.unwrap();
    let kept: Vec<_> = (50..60_u8).map(|n| (vec![n], vec![n; 30_000])).collect();
    assert!(rows == kept, "{} rows", rows.len());
    done
}

#[test]
fn a_compaction_that_finds_no_room_takes_nothing_along() {
    let mut failed = 0;
    loop {
        let dir = emptied();
        let Err(error) = compacted(dir.path(), &full_after(failed, None)) else {
            break;
        };
        assert_eq!(error.kind(), StoreErrorKind::NoSpace, "{error}");
        failed += 1;
    }
    // Not at the opening alone.
    assert!(failed > 6, "{failed}");
}

#[test]
fn a_compaction_gets_the_room_of_the_reserve() {
    for syncs in [0, 4] {
        let dir = emptied();
        let length = || {
            dir.path()
                .join(super::super::redb::FILE)
                .metadata()
                .unwrap()
                .len()
        };
        let before = length();
        let disk = full_after(syncs, Some(dir.path().join(reserve::FILE)));
        compacted(dir.path(), &disk).unwrap();
        assert!(length() < before / 2, "{before} -> {}", length());
    }
}

#[test]
fn a_store_that_somebody_has_open_is_not_compacted() {
    let (dir, store) = store();
    let disk = disk::machine();
    let error = compact_on(&options(dir.path()), &disk).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Locked);
    drop(store);
}
