//! Disks that are full or cannot sync, under the log or under redb's own file.

use super::super::disk::{Disk, Opener};
use super::*;
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use std::ops::Bound;

/// A file that fails to sync, as if the disk were full, on demand.
#[derive(Debug)]
struct BadFile {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

type Locked = Result<bool, redb::BackendError>;

impl StorageBackend for BadFile {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        if self.full.load(SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.file.write(offset, data)
    }
    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Locked {
        self.file.try_lock_range(from, to)
    }
    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(from, to)
    }
}

/// A disk whose log, and whose database, fail when they are told to.
#[derive(Default, Clone)]
struct BadDisk {
    log: Arc<AtomicBool>,
    database: Arc<AtomicBool>,
}

fn bad_file(path: &Path, full: &Arc<AtomicBool>) -> Result<BadFile, StoreError> {
    let file = FileBackend::new(lock::open_private(path)?).map_err(|e| redb_error("lock", e))?;
    let full = Arc::clone(full);
    Ok(BadFile { file, full })
}

impl Disk for BadDisk {
    fn open(&self, path: &Path) -> Result<Database, StoreError> {
        upgrade::builder(1 << 20)
            .create_with_backend(bad_file(path, &self.database)?)
            .map_err(|e| redb_error("open", e))
    }
    fn open_log(&self, path: &Path) -> Result<Box<dyn StorageBackend>, StoreError> {
        Ok(Box::new(bad_file(path, &self.log)?))
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
    until(|| store.counters().reserve_missing == 1);
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

#[tokio::test]
async fn memory_hears_of_a_change_that_may_yet_turn_out_to_stand() {
    let (_dir, disk, store) = bad_store();
    for full in [&disk.log, &disk.database] {
        full.store(true, SeqCst);
    }
    let (told, heard) = mpsc::channel();
    let done: Done<()> = store
        .write_then(
            Lane::Request,
            "put",
            |txn| txn.put(Table::Names, b"during", b"1"),
            move || told.send(()).unwrap(),
        )
        .await;
    assert!(matches!(done, Err(StoreError::Unknown { .. })), "{done:?}");
    // Once before the answer, and again when the file is what it will be.
    heard.try_recv().unwrap();
    assert!(heard.try_recv().is_err());
    for full in [&disk.log, &disk.database] {
        full.store(false, SeqCst);
    }
    heard.recv_timeout(Duration::from_secs(20)).unwrap();
    until(|| put(&store, "after", "1").is_ok());
    assert!(heard.try_recv().is_err());
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

#[test]
fn a_compaction_that_finds_no_room_takes_nothing_along() {
    let (dir, disk, store) = bad_store();
    put(&store, "before", "1").unwrap();
    let options = store.inner.shared.options.clone();
    let opener: Opener = Arc::new(disk.clone());
    // Nobody else may have the store open.
    let error = compact::compact_on(&options, &opener).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Locked);
    store.close();
    let reserve = || dir.path().join("reserve").metadata().unwrap().len();
    assert!(reserve() > 0);
    disk.database.store(true, SeqCst);
    let error = compact::compact_on(&options, &opener).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NoSpace, "{error}");
    assert_eq!(reserve(), 0);
    disk.database.store(false, SeqCst);
    compact::compact_on(&options, &opener).unwrap();
    let store = Store::open(options).unwrap();
    assert_eq!(get(&store, "before").as_deref(), Some("1"));
}
