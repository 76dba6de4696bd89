//! The log: what a killed store finds in it, and what it must not believe.

use super::super::disk::DiskFile;
use super::super::engine::Rows;
use super::super::log::{ChangeLog, Changes, FILE, LogKey, add};
use super::super::redb::open_as;
use super::*;
use sha2::{Digest as _, Sha256};
use std::io;

const ROOM: usize = 64 << 10;
const BLOCK: usize = 4096;
const KEY: LogKey = [7; 32];

/// A file in memory that others keep, too.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl DiskFile for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(lock_of(&self.0).len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = offset as usize;
        let bytes = lock_of(&self.0);
        let part = bytes.get(from..from + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        lock_of(&self.0).resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (from, mut bytes) = (offset as usize, lock_of(&self.0));
        let end = (from + data.len()).max(bytes.len());
        bytes.resize(end, 0);
        bytes[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len().unwrap() as usize];
        self.read(0, &mut bytes).unwrap();
        bytes
    }

    fn holding(bytes: &[u8]) -> Self {
        let file = Self::default();
        file.write(0, bytes).unwrap();
        file
    }
}

/// The changes of a batch that sets one row and deletes another.
fn changes(n: u8, len: usize) -> Vec<u8> {
    let rows = Rows::from([(vec![n], Some(vec![n; len])), (vec![n, 0], None)]);
    let mut changes = Vec::new();
    add(&mut changes, Table::Names, &rows);
    add(&mut changes, Table::Items, &Rows::new());
    changes
}

/// The first byte of the first key of every batch that a log repeats after `last`.
fn repeated(file: &Shared, last: u64) -> Done<(ChangeLog, Vec<u8>)> {
    let mut seen = Vec::new();
    let log = ChangeLog::open(
        Box::new(file.clone()),
        KEY,
        ROOM,
        last,
        u64::MAX,
        |changes: Changes<'_>| {
            changes.each(|table, rows| {
                if table == Table::Names {
                    let mut rows = rows.into_iter();
                    let (key, value) = rows.next().unwrap();
                    assert_eq!(value.unwrap()[0], key[0]);
                    assert_eq!(rows.next(), Some((vec![key[0], 0], None)));
                    seen.push(key[0]);
                }
                Ok(())
            })
        },
    )?;
    Ok((log, seen))
}

/// The same log, ready for the next batch.
fn opened(file: &Shared, last: u64) -> ChangeLog {
    let (mut log, _) = repeated(file, last).unwrap();
    log.clear().unwrap();
    log
}

/// A log with the batches 1 to 5, the third of two blocks; the offset of the last.
fn five() -> (Shared, usize) {
    let file = Shared::default();
    let mut log = opened(&file, 0);
    assert!(log.is_empty());
    for n in 1..=5 {
        let len = if n == 3 { BLOCK } else { 10 };
        assert!(log.append(&changes(n, len), 2).unwrap());
    }
    (file, 5 * BLOCK)
}

#[test]
fn batches_are_repeated_after_the_last_that_the_file_holds() {
    let (file, _) = five();
    for last in 0..=5_u8 {
        let (log, seen) = repeated(&file, last.into()).unwrap();
        assert_eq!(seen, (last + 1..=5).collect::<Vec<_>>());
        assert_eq!(log.next(), 6);
    }
}

#[test]
fn a_record_stays_as_it_was_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log.v1.bin");
    let (file, last) = five();
    let bytes = file.bytes();
    let record = &bytes[last..last + 48 + changes(5, 10).len()];
    if !path.exists() && std::env::var_os("DRYPORT_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, record).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), record);
}

#[test]
fn a_record_that_was_not_written_whole_ends_the_log() {
    let (file, last) = five();
    let bytes = file.bytes();
    let len = 48 + changes(5, 10).len();
    for at in last..last + len {
        let mut torn = bytes.clone();
        torn[at] ^= 1;
        let (log, seen) = repeated(&Shared::holding(&torn), 0).unwrap();
        assert_eq!((seen, log.next()), (vec![1, 2, 3, 4], 5), "byte {at}");
        let (_, seen) = repeated(&Shared::holding(&bytes[..at]), 0).unwrap();
        assert_eq!(seen, [1, 2, 3, 4], "cut at {at}");
    }
    let (_, seen) = repeated(&Shared::holding(&bytes[..last + len]), 0).unwrap();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

#[test]
fn what_was_there_before_the_restart_is_not_repeated() {
    let file = Shared::default();
    let mut log = opened(&file, 0);
    for n in 1..=5 {
        assert!(log.append(&changes(n, 10), 2).unwrap());
    }
    log.restart();
    assert!(log.append(&changes(7, 10), 2).unwrap());
    let (mut log, seen) = repeated(&file, 6).unwrap();
    assert_eq!((seen, log.next()), (vec![7], 8));
    log.clear().unwrap();
    let (log, seen) = repeated(&file, 2).unwrap();
    assert_eq!((seen, log.next()), (vec![], 3));
}

#[test]
fn a_record_without_the_key_is_none() {
    let (file, last) = five();
    let mut bytes = file.bytes();
    // A client knows the format, and may guess where its bytes come to lie.
    let mut forged = bytes[last..].to_vec();
    forged[8..16].copy_from_slice(&6_u64.to_be_bytes());
    let end = 48 + changes(5, 10).len();
    let sum = Sha256::digest([&forged[..16], &forged[48..end]].concat());
    forged[16..48].copy_from_slice(&sum);
    bytes[last + BLOCK..][..BLOCK].copy_from_slice(&forged[..BLOCK]);
    let (log, seen) = repeated(&Shared::holding(&bytes), 0).unwrap();
    assert_eq!((seen, log.next()), (vec![1, 2, 3, 4, 5], 6));
}

#[test]
fn a_record_that_was_whole_once_is_missed() {
    let (file, _) = five();
    let mut bytes = file.bytes();
    bytes[BLOCK + 60] ^= 1;
    let Err(error) = repeated(&Shared::holding(&bytes), 0) else {
        panic!("not missed");
    };
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
    let told = error.to_string();
    assert!(
        told.contains("at change 2") && told.contains("up to 5"),
        "{told}"
    );
    // Nor may a disk have kept what lay there before, in place of a record that it said to have written.
    let file = Shared::default();
    let mut log = opened(&file, 0);
    assert!(log.append(&changes(1, 10), 2).unwrap());
    let before = file.bytes();
    log.restart();
    for n in [3, 4] {
        assert!(log.append(&changes(n, 10), 2).unwrap());
    }
    let lost = [&before[..BLOCK], &file.bytes()[BLOCK..]].concat();
    let Err(error) = repeated(&Shared::holding(&lost), 2) else {
        panic!("not missed");
    };
    assert!(error.to_string().contains("at change 3"), "{error}");
    // What redb holds is not missed.
    let (_, seen) = repeated(&Shared::holding(&bytes), 5).unwrap();
    assert!(seen.is_empty());
}

#[test]
fn a_log_of_another_store_is_refused() {
    let (file, _) = five();
    let mut log = opened(&file, 5);
    log.restart();
    assert!(log.append(&changes(7, 10), 2).unwrap());
    let Err(error) = repeated(&file, 3) else {
        panic!("believed");
    };
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
    assert!(
        error.to_string().contains("begins with change 7"),
        "{error}"
    );
}

#[test]
fn what_has_no_room_is_left_to_redb() {
    let (file, _) = five();
    let mut log = opened(&file, 5);
    assert!(!log.append(&changes(6, ROOM), 2).unwrap());
    let mut taken = 0;
    while log.append(&changes(6, 10), 2).unwrap() {
        taken += 1;
    }
    assert_eq!(taken, ROOM / BLOCK);
    assert_eq!(file.len().unwrap(), ROOM as u64);
}

/// What a kill would leave of an open store.
fn killed(dir: &Path, with_log: bool) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    let names = ["meta.redb", FILE];
    for name in &names[..if with_log { 2 } else { 1 }] {
        std::fs::copy(dir.join(name), left.path().join(name)).unwrap();
    }
    left
}

#[test]
fn a_killed_store_has_what_it_acknowledged_from_its_log() {
    let (dir, store) = store();
    for n in 0..40 {
        put(&store, format!("k{n}").leak(), "1").unwrap();
    }
    let deleted: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "delete", |txn| {
        txn.append(b"gone")?;
        txn.delete(Table::Names, b"k39")
    });
    deleted.unwrap();
    let counters = store.counters();
    assert_eq!(counters.commits, 41);
    assert!((1..20).contains(&counters.settled), "{counters:?}");
    let (whole, without) = (killed(dir.path(), true), killed(dir.path(), false));
    let found = |dir: &Path| {
        let store = Store::open(options(dir)).unwrap();
        let there: Vec<_> = (0..40)
            .filter(|n| get(&store, &format!("k{n}")).is_some())
            .collect();
        let feed: Done<_> = store.read(|r| feed::read(r, &feed::FeedCursor::START, 9));
        (there, feed.unwrap().rows.len(), store)
    };
    let (there, feed, again) = found(whole.path());
    assert_eq!((there, feed), ((0..39).collect(), 1));
    assert!(again.running_ms() <= store.running_ms());
    // The next changes go on from there, and a clean stop leaves nothing to repeat.
    put(&again, "next", "1").unwrap();
    again.close();
    std::fs::remove_file(whole.path().join(FILE)).unwrap();
    let (there, _, again) = found(whole.path());
    assert_eq!(there.len(), 39);
    assert_eq!(get(&again, "next").as_deref(), Some("1"));
    // The log did it: the file alone has less.
    assert!(found(without.path()).0.len() < 39);
}

#[test]
fn a_log_of_another_length_is_as_good() {
    let (dir, store) = store();
    put(&store, "a", "1").unwrap();
    let left = killed(dir.path(), true);
    let file = left.path().join(FILE);
    for (n, log_bytes) in [0, ROOM, 5 * BLOCK + 1, 4 * ROOM].into_iter().enumerate() {
        let options = StoreOptions {
            log_bytes,
            ..options(left.path())
        };
        let store = Store::open(options).unwrap();
        assert_eq!(get(&store, "a").as_deref(), Some("1"));
        for k in 0..10 {
            put(&store, format!("k{n}.{k}").leak(), "1").unwrap();
        }
        let length = file.metadata().unwrap().len() as usize;
        assert_eq!(length, log_bytes / BLOCK * BLOCK);
        let other = killed(left.path(), true);
        let other = Store::open(super::options(other.path())).unwrap();
        assert!((0..10).all(|k| get(&other, &format!("k{n}.{k}")).is_some()));
    }
}

#[test]
fn a_damaged_log_is_told_and_can_be_given_up() {
    let (dir, store) = store();
    for key in ["a", "b", "c", "d"] {
        put(&store, key, "1").unwrap();
    }
    let left = killed(dir.path(), true);
    let file = left.path().join(FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[2 * BLOCK + 50] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let error = Store::open(options(left.path())).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
    assert!(error.to_string().contains("remove it"), "{error}");
    assert!(std::fs::read(&file).unwrap() == bytes, "it was changed");
    std::fs::remove_file(&file).unwrap();
    let store = Store::open(options(left.path())).unwrap();
    assert_eq!(get(&store, "a"), None);
    put(&store, "after", "1").unwrap();
    let huge = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    store.close();
    huge.set_len(1 << 40).unwrap();
    let error = Store::open(options(left.path())).unwrap_err();
    assert!(error.to_string().contains("longer than any"), "{error}");
}

#[test]
fn an_upgrade_takes_the_log_along() {
    let (dir, store) = store();
    put(&store, "a", "1").unwrap();
    let left = killed(dir.path(), true);
    let opener = disk::machine();
    let step = steps::Step {
        run: |_| Ok(()),
        rewrites: &[],
    };
    let steps = [step; SCHEMA as usize];
    drop(open_as(&options(left.path()), &opener, &steps).unwrap());
    // The copy of before has it, too, and repeats nothing that came after the upgrade, though its number fits.
    let (_, mut later) = open_as(&options(left.path()), &opener, &steps).unwrap();
    assert!(later.append(&changes(b'z', 10), 2).unwrap());
    drop(later);
    let copy = left.path().join(format!("meta.redb.schema-{SCHEMA}.bak"));
    std::fs::rename(copy, left.path().join("meta.redb")).unwrap();
    let store = Store::open(options(left.path())).unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some("1"));
    assert_eq!(get(&store, "z"), None);
}

#[test]
fn the_log_takes_no_more_rows_than_the_reserve_could_bear() {
    let (_dir, store) = store();
    let before = store.counters().settled;
    for n in 0..14_u16 {
        let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "rows", move |txn| {
            for k in 0..500_u16 {
                txn.put(
                    Table::Names,
                    &[n.to_be_bytes(), k.to_be_bytes()].concat(),
                    b"",
                )?;
            }
            Ok(())
        });
        done.unwrap();
    }
    assert_eq!(store.counters().settled - before, 2);
}

#[test]
fn a_batch_that_is_longer_than_the_log_goes_to_the_file() {
    let (dir, store) = store();
    put(&store, "small", "1").unwrap();
    let settled = store.counters().settled;
    let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "large", |txn| {
        for n in 0..4_u8 {
            txn.put(Table::Bytes, &[n], &vec![n; 40_000])?;
        }
        Ok(())
    });
    done.unwrap();
    assert_eq!(store.counters().settled, settled + 1);
    let left = killed(dir.path(), true);
    let store = Store::open(options(left.path())).unwrap();
    let seen: Done<_> = store.read(|r| r.get(Table::Bytes, &[3]));
    assert_eq!(seen.unwrap().map(|b| b.len()), Some(40_000));
    assert_eq!(get(&store, "small").as_deref(), Some("1"));
}

#[test]
fn an_idle_store_needs_its_log_no_more() {
    let (dir, store) = store();
    put(&store, "a", "1").unwrap();
    let settled = store.counters().settled;
    until(|| {
        thread::sleep(Duration::from_millis(20));
        store.counters().settled > settled
    });
    let left = killed(dir.path(), false);
    let store = Store::open(options(left.path())).unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some("1"));
}
