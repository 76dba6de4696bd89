//! The store as its callers see it: batches, overlays, failures, reopening.

#![allow(clippy::unwrap_used)]

mod batches;
mod epochs;
mod faults;
mod held;
mod log;
mod looks;
mod planted;
mod room;

use super::engine::{End, Rows};
use super::feed::FeedCursor;
use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::thread;

type Done<T> = Result<T, StoreError>;

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        dir: dir.to_path_buf(),
        cache_bytes: 8 << 20,
        slow: Duration::from_secs(5),
        holder: "dryport test".into(),
        reserve_bytes: 1 << 20,
        floor_bytes: 0,
        log_bytes: 64 << 10,
        upgrade_without_copy: false,
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    (dir, store)
}

fn put(store: &Store, key: &'static str, value: &'static str) -> Done<()> {
    store.write_blocking(Lane::Request, Need::Grows, "put", move |txn| {
        txn.put(Table::Names, key.as_bytes(), value.as_bytes())
    })
}

fn get(store: &Store, key: &str) -> Option<String> {
    let value = store.read(|r| r.get(Table::Names, key.as_bytes()));
    value.unwrap().map(|v| String::from_utf8(v).unwrap())
}

/// Holds the writer inside a closure until the returned sender is dropped, so that what follows forms one batch.
fn stop_writer(store: &Store) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let (inside, started) = mpsc::channel();
    let store = store.clone();
    let held = thread::spawn(move || {
        let done: Done<()> = store.write_blocking(Lane::Request, Need::Keeps, "hold", move |txn| {
            // A second time if its batch found no room.
            let _ = inside.send(());
            let _ = wait.recv();
            txn.put(Table::Names, b"held", b"1")
        });
        done.unwrap();
    });
    started.recv().unwrap();
    (go, held)
}

fn until(mut done: impl FnMut() -> bool) {
    // Only a test that fails waits for two minutes.
    for _ in 0..24_000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain");
}

#[test]
fn sixty_four_writers_share_commits_and_see_their_writes() {
    let (_dir, store) = store();
    let barrier = Arc::new(Barrier::new(64));
    let writers: Vec<_> = (0..64_u64)
        .map(|id| {
            let (store, barrier) = (store.clone(), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                for n in 0..20_u64 {
                    let done: Done<u64> =
                        store.write_blocking(Lane::Request, Need::Grows, "count", move |txn| {
                            let key = key::Key::new().u64(id).u64(n).done();
                            txn.put(Table::Items, &key, b"x")?;
                            txn.append(&key)?;
                            let total = txn.get(Table::Names, b"total")?;
                            let total = total.and_then(|v| table::as_u64(&v)).unwrap_or(0) + 1;
                            txn.put(Table::Names, b"total", &total.to_be_bytes())?;
                            Ok(total)
                        });
                    assert!(done.unwrap() > n);
                    let key = key::Key::new().u64(id).u64(n).done();
                    let seen: Done<_> = store.read(|r| r.get(Table::Items, &key));
                    assert_eq!(seen.unwrap().as_deref(), Some(&b"x"[..]));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let total: Done<_> = store.read(|r| {
        let feed = feed::read(r, &FeedCursor::START, 5_000)?;
        assert!(feed.rows.len() == 1280 && feed.rows.is_sorted() && !feed.behind);
        assert_eq!(feed::last(r)?, feed.next);
        r.get(Table::Names, b"total")
    });
    assert_eq!(table::as_u64(&total.unwrap().unwrap()), Some(1280));
    let counters = store.counters();
    assert_eq!((counters.closures, counters.queued), (1280, 0));
    assert!(
        counters.commits < 1280 && counters.largest_batch > 1,
        "{counters:?}"
    );
    assert!(counters.file_bytes > 0 && counters.commit_micros > 0);
    assert_eq!(counters.batch_buckets.iter().sum::<u64>(), counters.commits);
}

#[test]
fn a_failed_or_panicking_closure_takes_only_its_own_changes_along() {
    let (_dir, store) = store();
    let (go, held) = stop_writer(&store);
    let ok = {
        let store = store.clone();
        thread::spawn(move || put(&store, "kept", "1"))
    };
    until(|| store.counters().queued == 1);
    let spawn = |name: &'static str, f: fn(&mut Txn<'_>) -> Done<()>| {
        let writer = store.clone();
        let waiting = store.counters().queued;
        let thread =
            thread::spawn(move || writer.write_blocking(Lane::Request, Need::Grows, name, f));
        until(|| store.counters().queued > waiting);
        thread
    };
    let refused = spawn("refused", |txn| {
        assert_eq!(txn.get(Table::Names, b"kept")?.as_deref(), Some(&b"1"[..]));
        txn.put(Table::Names, b"kept", b"2")?;
        txn.delete(Table::Names, b"held")?;
        Err(StoreError::Busy)
    });
    let panicked = spawn("panics", |txn| {
        txn.put(Table::Names, b"kept", b"3")?;
        panic!("a defect")
    });
    let overlooked = spawn("overlooks", |txn| {
        let _ = txn.put(Table::Names, b"kept", &vec![0; (64 << 10) + 1]);
        txn.put(Table::Names, b"kept", b"4")
    });
    let after = spawn("after", |txn| {
        assert_eq!(txn.get(Table::Names, b"kept")?.as_deref(), Some(&b"1"[..]));
        txn.put(Table::Names, b"after", b"1")
    });
    drop(go);
    held.join().unwrap();
    ok.join().unwrap().unwrap();
    after.join().unwrap().unwrap();
    assert_eq!(refused.join().unwrap(), Err(StoreError::Busy));
    assert_eq!(
        panicked.join().unwrap(),
        Err(StoreError::Panicked("panics"))
    );
    let overlooked = overlooked.join().unwrap().unwrap_err();
    assert_eq!(overlooked.kind(), StoreErrorKind::Refused);
    assert_eq!(get(&store, "kept").as_deref(), Some("1"));
    assert_eq!(get(&store, "held").as_deref(), Some("1"));
    let counters = store.counters();
    assert_eq!(
        (counters.commits, counters.largest_batch, counters.panics),
        (1, 6, 1)
    );
}

#[test]
fn scans_merge_overlay_and_rows_both_ways() {
    let (_dir, store) = store();
    let rows = |page: Vec<Row>| -> String {
        let one = |(k, v): Row| String::from_utf8([k, v].concat()).unwrap();
        page.into_iter().map(one).collect::<Vec<_>>().join(" ")
    };
    for key in ["b", "d", "f", "h"] {
        put(&store, key, "0").unwrap();
    }
    let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "scan", move |txn| {
        for key in ["a", "d", "i"] {
            txn.put(Table::Names, key.as_bytes(), b"1")?;
        }
        for key in ["b", "f", "x"] {
            txn.delete(Table::Names, key.as_bytes())?;
        }
        let up = |from: &[u8], to: &[u8], limit| txn.scan(Table::Names, from, to, limit);
        assert_eq!(rows(up(b"", b"", 100)?), "a1 d1 h0 i1");
        assert_eq!(rows(up(b"", b"", 2)?), "a1 d1");
        assert_eq!(rows(up(b"b", b"i", 2)?), "d1 h0");
        assert_eq!(rows(up(b"b", b"d", 2)?), "");
        assert_eq!(rows(up(b"d", b"d", 2)?), "");
        assert_eq!(rows(up(b"z", b"a", 2)?), "");
        assert_eq!(rows(up(b"", b"", 0)?), "");
        let down = |from: &[u8], to: &[u8], limit| txn.scan_back(Table::Names, from, to, limit);
        assert_eq!(rows(down(b"", b"", 100)?), "i1 h0 d1 a1");
        assert_eq!(rows(down(b"", b"h", 1)?), "d1");
        assert_eq!(rows(down(b"a", b"i", 2)?), "h0 d1");
        Ok(())
    });
    done.unwrap();
    let seen: Done<_> = store.read(|r| {
        let up = r.scan(Table::Names, b"d", b"", 2)?;
        Ok((rows(up), rows(r.scan_back(Table::Names, b"", b"i", 2)?)))
    });
    assert_eq!(seen.unwrap(), ("d1 h0".into(), "h0 d1".into()));
}

#[test]
fn limits_and_reserved_rows_are_refused() {
    let (_dir, store) = store();
    let refused = |f: fn(&mut Txn<'_>) -> Done<()>| {
        let done = store.write_blocking(Lane::Background, Need::Grows, "limits", f);
        assert_eq!(done.unwrap_err().kind(), StoreErrorKind::Refused);
    };
    refused(|txn| txn.put(Table::Names, b"k", &vec![0; (64 << 10) + 1]));
    refused(|txn| txn.put(Table::Bytes, b"k", &vec![0; (256 << 10) + 1]));
    refused(|txn| txn.put(Table::Names, &vec![0; KEY_LIMIT + 1], b""));
    refused(|txn| txn.append(&vec![0; (64 << 10) + 1]));
    refused(|txn| txn.put(Table::Feed, &[0; 8], b""));
    refused(|txn| txn.put(Table::Meta, b"store.schema", &[0; 4]));
    refused(|txn| (0..=5_000_u32).try_for_each(|n| txn.put(Table::Due, &n.to_be_bytes(), b"")));
    let fits: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "fits", |txn| {
        (0..4_999_u32).try_for_each(|n| txn.put(Table::Due, &n.to_be_bytes(), b""))?;
        txn.put(Table::Due, &0_u32.to_be_bytes(), b"again")?;
        txn.put(Table::Bytes, b"k", &vec![0; 256 << 10])
    });
    fits.unwrap();
}

#[test]
fn a_closed_store_refuses_and_a_reopened_one_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    put(&store, "a", "1").unwrap();
    for file in ["meta.redb", "lock", "reserve"] {
        let about = dir.path().join(file).metadata().unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o600, "{file}");
    }
    thread::sleep(Duration::from_millis(30));
    let before = store.running_ms();
    assert!(before >= 30);
    store.close();
    store.close();
    assert_eq!(put(&store, "b", "1"), Err(StoreError::Closed));
    let read: Done<()> = store.read(|_| Ok(()));
    assert_eq!(read.unwrap_err().kind(), StoreErrorKind::Unavailable);

    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some("1"));
    let after = store.running_ms();
    assert!(
        after >= before && after < before + 10_000,
        "{before} {after}"
    );
    let inside: Done<u64> =
        store.write_blocking(Lane::Request, Need::Grows, "time", |t| Ok(t.running_ms()));
    assert!(inside.unwrap() >= after);
    drop(store);
    let again = Store::open(options(dir.path())).unwrap();
    assert!(again.running_ms() >= after);
}

#[test]
fn a_second_opener_learns_who_has_it() {
    let (dir, store) = store();
    let error = Store::open(options(dir.path())).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Locked);
    let holder = format!("pid {}, dryport test", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
    drop(store);
    Store::open(options(dir.path())).unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_an_older_one_copied_and_upgraded() {
    let dir = tempfile::tempdir().unwrap();
    let opener = disk::machine();
    let step = steps::Step {
        run: |rows| {
            let row = Rows::from([(b"upgraded".to_vec(), Some(b"1".to_vec()))]);
            rows.change(Table::Names, &row)
        },
        rewrites: &[],
    };
    let steps = [step; SCHEMA as usize];
    let path = dir.path();
    let store = Store::open(options(path)).unwrap();
    put(&store, "a", "1").unwrap();
    store.close();
    drop(super::redb::open_as(&options(path), &opener, &steps).unwrap());
    let copy = path.join(format!("meta.redb.schema-{SCHEMA}.bak"));
    assert!(copy.exists());
    let error = Store::open(options(path)).unwrap_err();
    assert_eq!(
        error,
        StoreError::TooNew {
            found: SCHEMA + 1,
            known: SCHEMA
        }
    );
    assert_eq!(error.kind(), StoreErrorKind::TooNew);
    drop(super::redb::open_as(&options(path), &opener, &steps).unwrap());
    std::fs::rename(copy, path.join("meta.redb")).unwrap();
    let store = Store::open(options(path)).unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some("1"));
    assert_eq!(get(&store, "upgraded"), None);
}

/// A newer schema that leaves alone what this program relies on says so, and this program goes on with it.
#[test]
fn a_newer_schema_is_opened_where_it_lets_older_programs_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let store = Store::open(options(path)).unwrap();
    put(&store, "a", "1").unwrap();
    store.close();
    let set = |versions: Versions| {
        let opener = disk::machine();
        let file = opener.open(&path.join("meta.redb")).unwrap();
        let db = super::redb::upgrade::database(file, 8 << 20).unwrap();
        let put = db.write(|rows| Ok((versions.put(rows)?, End::Durable)));
        put.unwrap();
    };
    let newer = |oldest_reader, oldest_writer| Versions {
        schema: SCHEMA + 2,
        oldest_reader,
        oldest_writer,
    };
    set(newer(SCHEMA, SCHEMA));
    let store = Store::open(options(path)).unwrap();
    put(&store, "b", "2").unwrap();
    // What the newer program wrote of itself stays.
    let status = store.status().unwrap();
    assert_eq!(status.versions, newer(SCHEMA, SCHEMA));
    assert!(status.readable && status.writable);
    store.close();
    let closed = DatabaseStatus::of_closed(path, "a test").unwrap();
    assert_eq!(
        (closed.versions, closed.copies),
        (status.versions, status.copies)
    );
    for (versions, readable) in [
        (newer(SCHEMA, SCHEMA + 1), true),
        (newer(SCHEMA + 1, SCHEMA + 1), false),
    ] {
        set(versions);
        let before = std::fs::read(path.join("meta.redb")).unwrap();
        let error = Store::open(options(path)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::TooNew);
        let status = DatabaseStatus::of_closed(path, "a test").unwrap();
        assert_eq!((status.readable, status.writable), (readable, false));
        assert_eq!(status.versions, versions);
        assert!(std::fs::read(path.join("meta.redb")).unwrap() == before);
    }
    set(Versions::alone(SCHEMA));
    let store = Store::open(options(path)).unwrap();
    assert_eq!(get(&store, "b").as_deref(), Some("2"));
}

#[test]
fn a_store_of_before_the_log_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let opener = disk::machine();
    let (db, log) = super::redb::open_as(&options(dir.path()), &opener, &[]).unwrap();
    let key = Rows::from([(table::meta::LOG_KEY.to_vec(), None)]);
    let removed = db.write(|rows| Ok((rows.change(Table::Meta, &key)?, End::Durable)));
    removed.unwrap();
    drop((db, log));
    let file = dir.path().join("meta.redb.log");
    std::fs::remove_file(&file).unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    assert!(dir.path().join("meta.redb.schema-1.bak").exists());
    put(&store, "a", "1").unwrap();
    assert_eq!(store.counters().settled, 0);
    assert!(std::fs::read(file).unwrap().starts_with(b"dpl1"));
}

#[test]
fn the_feed_is_read_from_a_cursor_and_trimmed() {
    let (_dir, store) = store();
    let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "feed", |txn| {
        for row in [b"a", b"b", b"c"] {
            txn.append(row)?;
        }
        let first = feed::read(txn, &FeedCursor::START, 1)?;
        assert_eq!(values(&first), ["a"]);
        let second = feed::read(txn, &first.next, 1)?;
        assert_eq!(values(&second), ["b"]);
        feed::set_cursor(txn, "search", &second.next)
    });
    done.unwrap();
    let page: Done<_> = store.read(|r| feed::read(r, &feed::cursor(r, "search")?, 10));
    let page = page.unwrap();
    assert_eq!((values(&page), page.behind), (vec!["c".into()], false));
    let end = page.next;
    let trimmed: Done<usize> =
        store.write_blocking(Lane::Background, Need::Grows, "trim", move |txn| {
            feed::trim(txn, &end, 10)
        });
    // The newest row stays, and others come after it.
    assert_eq!(trimmed.unwrap(), 2);
    let seen: Done<_> = store.read(|r| {
        let behind = feed::read(r, &FeedCursor::START, 10)?.behind;
        let here = feed::read(r, &feed::cursor(r, "search")?, 10)?.behind;
        let new = feed::cursor(r, "new")?;
        Ok((behind, here, feed::last(r)?, new))
    });
    assert_eq!(seen.unwrap(), (true, false, end, FeedCursor::START));
    let next: Done<()> =
        store.write_blocking(Lane::Request, Need::Grows, "feed", |txn| txn.append(b"d"));
    next.unwrap();
    let page: Done<_> = store.read(|r| feed::read(r, &end, 10));
    assert_eq!(values(&page.unwrap()), ["d"]);
}

/// The rows of a page of the feed, which are texts.
fn values(page: &feed::Page) -> Vec<String> {
    let text = |(_, row): &feed::FeedRow| String::from_utf8(row.clone()).unwrap();
    page.rows.iter().map(text).collect()
}

/// What a program wrote that numbered the feed and noted nothing of what was trimmed.
#[test]
fn a_feed_of_before_is_read_from_its_first_number_on() {
    let (_dir, store) = store();
    let number = |n: u64| n.to_be_bytes();
    let put: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "old", move |txn| {
        (0..4).try_for_each(|_| txn.append(b"x"))?;
        txn.delete(Table::Feed, &number(1))?;
        txn.delete(Table::Feed, &number(2))?;
        txn.delete_own(table::meta::FEED_TRIMMED)?;
        let key = key::Key::new().raw(b"feed/").text("old").done();
        txn.put(Table::Cursors, &key, &number(1))
    });
    put.unwrap();
    let behind = |name: &'static str| -> (bool, usize) {
        let page: Done<_> = store.read(|r| feed::read(r, &feed::cursor(r, name)?, 10));
        let page = page.unwrap();
        (page.behind, page.rows.len())
    };
    assert_eq!((behind("old"), behind("never")), ((true, 2), (true, 2)));
    let done: Done<_> = store.write_blocking(Lane::Request, Need::Grows, "old", move |txn| {
        let at = feed::read(txn, &FeedCursor::START, 1)?.next;
        feed::set_cursor(txn, "old", &at)
    });
    done.unwrap();
    assert_eq!(behind("old"), (false, 1));
}

#[tokio::test]
async fn tasks_write_and_a_closing_store_answers_what_waits() {
    let (_dir, store) = store();
    let done: Done<u8> = store
        .write(Lane::Request, Need::Grows, "task", |txn| {
            txn.put(Table::Names, b"a", b"1")?;
            Ok(7)
        })
        .await;
    assert_eq!(done, Ok(7));
    let (go, held) = stop_writer(&store);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .write(Lane::Background, Need::Grows, "last", |txn| {
                    txn.put(Table::Names, b"b", b"1")
                })
                .await as Done<()>
        })
    };
    while store.counters().queued == 0 {
        tokio::task::yield_now().await;
    }
    let closer = store.clone();
    let closing = thread::spawn(move || closer.close());
    drop(go);
    closing.join().unwrap();
    held.join().unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(()));
    let late: Done<()> = store
        .write(Lane::Request, Need::Grows, "late", |_| Ok(()))
        .await;
    assert_eq!(late, Err(StoreError::Closed));
}

#[test]
fn the_feed_forgets_what_is_old_and_what_everybody_is_done_with() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let write = |n: u64| {
        let row = n.to_be_bytes();
        let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "feed", move |tx| {
            tx.append(&row)
        });
        done.unwrap();
    };
    let tend = |keep| -> usize {
        let done: Done<usize> =
            store.write_blocking(Lane::Background, Need::Keeps, "tend", move |tx| {
                feed::tend(tx, keep, 3)
            });
        done.unwrap()
    };
    let rows = || -> Vec<u64> {
        let page: Done<_> = store.read(|r| feed::read(r, &FeedCursor::START, 100));
        let rows = page.unwrap().rows;
        rows.iter().filter_map(|(_, n)| table::as_u64(n)).collect()
    };
    (1..=8).for_each(write);
    // What is young stays; then no more than asked for goes at once, and never what a consumer has not seen.
    assert_eq!(tend(DAY), 0);
    let done_with = |rows: usize| {
        let seen: Done<()> =
            store.write_blocking(Lane::Request, Need::Grows, "cursor", move |tx| {
                let seen = feed::read(tx, &feed::cursor(tx, "search")?, rows)?;
                feed::set_cursor(tx, "search", &seen.next)
            });
        seen.unwrap();
    };
    done_with(5);
    let early: Done<_> = store.read(|r| Ok(feed::read(r, &FeedCursor::START, 3)?.next));
    assert_eq!((tend(0), rows()), (3, (4..=8).collect()));
    assert_eq!((tend(0), rows()), (2, (6..=8).collect()));
    assert_eq!(tend(0), 0);
    done_with(3);
    // The newest row stays: it says that others were there before.
    assert_eq!((tend(0), rows()), (2, vec![8]));
    let early = early.unwrap();
    let behind: Done<_> = store.read(|r| feed::read(r, &early, 10));
    assert!(behind.unwrap().behind);
}

#[tokio::test]
async fn who_follows_the_feed_wakes_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let mut fed = store.fed();
    fed.mark_unchanged();
    let done: Done<()> = store
        .write(Lane::Request, Need::Grows, "feed", |tx| tx.append(b"a"))
        .await;
    done.unwrap();
    tokio::time::timeout(Duration::from_secs(30), fed.changed())
        .await
        .unwrap()
        .unwrap();
}
