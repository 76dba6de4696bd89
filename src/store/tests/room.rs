//! What a full disk takes and what it refuses, and how much of the reserve removing needs.

use super::super::disk::{Disk, DiskFile, Opener};
use super::*;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::AtomicU64;

/// A disk on which the store's files may have so many bytes together, and the reserve takes of the same.
#[derive(Clone)]
struct Small {
    dir: PathBuf,
    size: Arc<AtomicU64>,
    /// The most that the database had when it was synced.
    most: Arc<AtomicU64>,
}

impl Small {
    fn on(dir: &Path) -> Self {
        let (dir, size) = (dir.to_owned(), Arc::new(AtomicU64::new(1 << 40)));
        let most = Arc::default();
        Self { dir, size, most }
    }

    fn taken(&self) -> u64 {
        let files = std::fs::read_dir(&self.dir).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().blocks() * 512)
            .sum()
    }

    fn is_full(&self) -> bool {
        self.taken() > self.size.load(SeqCst)
    }

    /// From now on nothing is free.
    fn fill(&self) {
        self.size.store(self.taken(), SeqCst);
    }

    fn grow(&self, bytes: u64) {
        self.size.fetch_add(bytes, SeqCst);
    }

    fn database(&self) -> u64 {
        let file = self.dir.join(super::super::redb::FILE);
        file.metadata().map_or(0, |about| about.blocks() * 512)
    }
}

impl Disk for Small {
    fn open(&self, path: &Path) -> Done<Box<dyn DiskFile>> {
        let file = lock::open_private(path)?;
        let disk = self.clone();
        Ok(Box::new(SmallFile { file, disk }))
    }
    fn free(&self, _dir: &Path) -> Option<u64> {
        Some(self.size.load(SeqCst).saturating_sub(self.taken()))
    }
}

struct SmallFile {
    file: std::fs::File,
    disk: Small,
}

impl std::fmt::Debug for SmallFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl DiskFile for SmallFile {
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
        self.disk.most.fetch_max(self.disk.database(), SeqCst);
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        use rustix::fs::FallocateFlags as Flags;
        let before = self.disk.taken();
        DiskFile::write(&self.file, offset, data)?;
        if self.disk.taken() == before || !self.disk.is_full() {
            return Ok(());
        }
        // It takes nothing. The pages that were there before keep their bytes nowhere: none of redb's is written in part.
        let flags = Flags::PUNCH_HOLE | Flags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, offset, data.len() as u64)?;
        Err(std::io::ErrorKind::StorageFull.into())
    }
    fn file(&self) -> Option<&std::fs::File> {
        Some(&self.file)
    }
}

fn open(disk: &Small) -> Store {
    let opener: Opener = Arc::new(disk.clone());
    let options = StoreOptions {
        reserve_bytes: 8 << 20,
        ..options(&disk.dir)
    };
    Store::open_with(options, opener).unwrap()
}

fn small() -> (tempfile::TempDir, Small, Store) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Small::on(dir.path());
    let store = open(&disk);
    (dir, disk, store)
}

fn content(store: &Store, need: Need, n: u32, len: usize) -> Done<()> {
    store.write_blocking(Lane::Request, need, "content", move |txn| {
        txn.put(Table::Pages, &n.to_be_bytes(), &vec![n as u8; len])
    })
}

fn gone(store: &Store, need: Need, range: std::ops::Range<u32>) -> Done<()> {
    store.write_blocking(Lane::Request, need, "gone", move |txn| {
        range
            .clone()
            .try_for_each(|n| txn.delete(Table::Pages, &n.to_be_bytes()))
    })
}

fn rows(store: &Store) -> usize {
    let rows: Done<Vec<Row>> = store.read(|r| r.scan(Table::Pages, &[], &[], 10_000));
    rows.unwrap().len()
}

#[test]
fn what_grows_is_refused_and_what_removes_has_the_reserve() {
    let (_dir, disk, store) = small();
    disk.size.store(disk.taken() + (2 << 20), SeqCst);
    let mut count = 0;
    // Ever less, until nothing is taken.
    for len in [60_000, 6_000, 100, 1] {
        while content(&store, Need::Grows, count, len).is_ok() {
            count += 1;
        }
    }
    let refused = content(&store, Need::Grows, 9_999, 1).unwrap_err();
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(refused.is_full() && count > 10, "{count}");
    let counters = store.counters();
    assert_eq!((counters.reserve_owed, counters.failed_commits), (0, 0));
    assert!(counters.refused_full >= 5);
    // Others take what was left.
    disk.fill();
    let nothing: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "same", |_| Ok(()));
    nothing.unwrap();
    gone(&store, Need::Removes, 0..2).unwrap();
    assert!(store.counters().reserve_owed > 0);
    let refused = content(&store, Need::Grows, 9_999, 1).unwrap_err();
    assert!(
        refused.is_full(),
        "what was lent is not for growing: {refused}"
    );
    for n in 2..count {
        gone(&store, Need::Removes, n..n + 1).unwrap();
    }
    assert_eq!(rows(&store), 0);
    // What comes free is the reserve's first.
    let owed = store.counters().reserve_owed;
    disk.grow(owed);
    assert!(content(&store, Need::Grows, 1, 1).is_err());
    assert_eq!(store.counters().reserve_owed, 0);
    disk.grow(1 << 20);
    content(&store, Need::Grows, 1, 1).unwrap();
    assert_eq!(store.counters().failed_commits, 0);
}

#[test]
fn content_is_put_only_by_what_says_that_it_grows() {
    let (_dir, _, store) = small();
    for need in [Need::Removes, Need::Keeps] {
        let refused = content(&store, need, 1, 1);
        assert_eq!(refused, Err(StoreError::Small));
        assert_eq!(StoreError::Small.kind(), StoreErrorKind::Refused);
    }
}

#[test]
fn clients_have_half_of_the_reserve_and_the_operator_the_rest() {
    let (_dir, disk, store) = small();
    content(&store, Need::Grows, 1, 1).unwrap();
    disk.fill();
    let note = |need, n: u32| -> Done<()> {
        store.write_blocking(Lane::Request, need, "note", move |txn| {
            (0..20).try_for_each(|row| {
                txn.put(
                    Table::Refs,
                    &[n, row].map(u32::to_be_bytes).concat(),
                    &vec![7; 30_000],
                )
            })
        })
    };
    let mut n = 0;
    let refused = loop {
        n += 1;
        match note(Need::Removes, n) {
            Ok(()) => assert!(n < 100, "without an end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::NoSpace(_)), "{refused}");
    let owed = store.counters().reserve_owed;
    assert!((1 << 20..=4 << 20).contains(&owed), "{owed}");
    // Those that have no room are told before they are tried, and what has some is taken.
    for n in 200..220 {
        let refused = note(Need::Removes, n).unwrap_err();
        assert!(refused.is_full(), "{refused}");
    }
    let counters = store.counters();
    assert_eq!((counters.failed_commits, counters.reopened), (0, 0));
    assert!(counters.refused_full >= 21);
    note(Need::Keeps, 1000).unwrap();
    gone(&store, Need::Keeps, 1..2).unwrap();
    assert_eq!(rows(&store), 0);
}

#[test]
fn a_batch_that_finds_no_room_refuses_what_grows_and_does_the_rest() {
    let (_dir, disk, store) = small();
    for n in 0..40 {
        content(&store, Need::Grows, n, 60_000).unwrap();
    }
    let (go, held) = stop_writer(&store);
    let thread = |work: fn(&Store) -> Done<()>| {
        let waiting = store.counters().queued;
        let (run, seen) = (store.clone(), store.clone());
        let thread = thread::spawn(move || work(&run));
        until(|| seen.counters().queued > waiting);
        thread
    };
    // Somebody else takes the disk between the look at it and the write.
    let filler = disk.clone();
    let fill = {
        let (run, seen) = (store.clone(), store.clone());
        let thread = thread::spawn(move || {
            run.write_blocking(Lane::Request, Need::Keeps, "fill", move |_| {
                filler.fill();
                Ok::<_, StoreError>(())
            })
        });
        until(|| seen.counters().queued > 0);
        thread
    };
    let grows: Vec<_> = (0..3)
        .map(|_| {
            thread(|store| (100..130).try_for_each(|n| content(store, Need::Grows, n, 60_000)))
        })
        .collect();
    let removes = thread(|store| gone(store, Need::Removes, 0..10));
    let keeps = thread(|store| gone(store, Need::Keeps, 10..20));
    drop(go);
    held.join().unwrap();
    fill.join().unwrap().unwrap();
    removes.join().unwrap().unwrap();
    keeps.join().unwrap().unwrap();
    for grown in grows {
        let refused = grown.join().unwrap().unwrap_err();
        assert!(refused.kind() == StoreErrorKind::NoSpace, "{refused}");
    }
    // What was acknowledged is there, and no more.
    let there = rows(&store);
    store.close();
    let store = open(&disk);
    assert_eq!(rows(&store), there);
    gone(&store, Need::Removes, 20..40).unwrap();
}

/// A database of many rows that lie far apart; and a full disk.
fn large(rows: u32) -> (tempfile::TempDir, Small, Store) {
    let (dir, disk, store) = small();
    for part in 0..rows / 4000 {
        let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "rows", move |txn| {
            (part * 4000..(part + 1) * 4000)
                .try_for_each(|n| txn.put(Table::Items, &far(n), &[n as u8; 150]))
        });
        done.unwrap();
    }
    (dir, disk, store)
}

/// Keys whose order has nothing to do with that of their numbers.
fn far(n: u32) -> Vec<u8> {
    [n.wrapping_mul(0x9e37_79b1), n]
        .map(u32::to_be_bytes)
        .concat()
}

#[test]
fn a_store_on_a_full_disk_is_opened_emptied_and_compacted() {
    let (_dir, disk, store) = large(24_000);
    // What the log holds is repeated by the next start.
    for n in 0..20 {
        content(&store, Need::Grows, n, 100).unwrap();
    }
    store.close();
    disk.fill();
    let store = open(&disk);
    let before = disk.database();
    for part in 0..30 {
        let done: Done<()> =
            store.write_blocking(Lane::Background, Need::Keeps, "gc", move |txn| {
                (part * 800..(part + 1) * 800).try_for_each(|n| txn.delete(Table::Items, &far(n)))
            });
        done.unwrap();
    }
    let took = disk.most.load(SeqCst).saturating_sub(before);
    store.close();
    disk.fill();
    let opener: Opener = Arc::new(disk.clone());
    let options = StoreOptions {
        reserve_bytes: 8 << 20,
        ..options(&disk.dir)
    };
    compact_on(&options, &opener).unwrap();
    println!(
        "24,000 rows: {before} bytes, {took} more while they went, {} afterwards",
        disk.database()
    );
    assert!(disk.database() < before / 2);
    let store = open(&disk);
    assert_eq!(store.counters().failed_commits, 0);
    content(&store, Need::Grows, 1, 1000).unwrap();
}
