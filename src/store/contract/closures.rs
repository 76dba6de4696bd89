//! Promises of the store above an engine: closures, the feed and the clock.

use super::*;
use crate::store::feed::{self, FeedCursor, FeedRow};
use crate::store::table::as_u64;
use crate::store::{Get, Lane, Need, Store, Txn};
use std::time::Duration;

fn open_store<E: Engine>(ground: &dyn Ground) -> Result<Store<E>, StoreError> {
    Store::open_over(ground.options(), ground.opener())
}

fn write<E: Engine, T: Send + 'static>(
    store: &Store<E>,
    f: impl FnMut(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    store.write_blocking(Lane::Request, Need::Keeps, "contract", f)
}

fn counter(get: &impl Get, key: &[u8]) -> Result<u64, StoreError> {
    let row = get.get(Table::Names, key)?;
    Ok(row.as_deref().and_then(as_u64).unwrap_or(0))
}

fn count(txn: &mut Txn<'_>) -> Result<u64, StoreError> {
    let next = counter(txn, b"count")? + 1;
    txn.put(Table::Names, b"count", &number(next))?;
    Ok(next)
}

/// Closures of many threads, some of which refuse after they changed rows: each of the others counts once, and hears a number
/// of its own.
pub(super) fn closures_count_once<E: Engine>(ground: &dyn Ground) -> Kept {
    let store: Store<E> = open_store(ground)?;
    let work = |refuses: bool| {
        let mut heard = Vec::new();
        for _ in 0..20 {
            let done = write(&store, move |txn| {
                let counted = count(txn)?;
                if refuses {
                    Err(StoreError::Busy)
                } else {
                    Ok(counted)
                }
            });
            match done {
                Err(StoreError::Busy) if refuses => {}
                done => heard.push(done?),
            }
        }
        Ok::<_, StoreError>(heard)
    };
    let mut heard = std::thread::scope(|s| {
        let all: Vec<_> = (0..8).map(|n| s.spawn(move || work(n % 2 == 0))).collect();
        let mut heard = Vec::new();
        for thread in all {
            heard.extend(thread.join().unwrap()?);
        }
        Ok::<_, StoreError>(heard)
    })?;
    heard.sort_unstable();
    same(&heard, &(1..=80).collect(), "what closures heard")?;
    ground.cut();
    store.close();
    let store: Store<E> = open_store(ground)?;
    let left = store.read(|r| counter(r, b"count"))?;
    same(&left, &80, "what closures counted")
}

/// Two rows, of which one at most may be set: closures that look at both and set one each.
pub(super) fn closures_decide_one_after_the_other<E: Engine>(ground: &dyn Ground) -> Kept {
    let store: Store<E> = open_store(ground)?;
    for round in 0..10_u8 {
        let take = |own: &'static [u8]| {
            write(&store, move |txn| {
                let mut set = 0;
                for key in [&b"left"[..], b"right"] {
                    set += counter(txn, &[key, &[round]].concat())?;
                }
                if set == 0 {
                    txn.put(Table::Names, &[own, &[round]].concat(), &number(1))?;
                }
                Ok(set == 0)
            })
        };
        let won = std::thread::scope(|s| {
            let both = [s.spawn(|| take(b"left")), s.spawn(|| take(b"right"))];
            both.map(|thread| thread.join().unwrap())
        });
        let [left, right] = won;
        same(
            &(u8::from(left?) + u8::from(right?)),
            &1,
            "who found nothing set",
        )?;
    }
    Ok(())
}

/// Reads on to the end, some rows at a time.
fn read_on<E: Engine>(
    store: &Store<E>,
    from: &mut FeedCursor,
    limit: usize,
    into: &mut Vec<FeedRow>,
) -> Result<(), StoreError> {
    loop {
        let page = store.read(|r| feed::read(r, from, limit))?;
        if page.rows.is_empty() {
            return Ok(());
        }
        *from = page.next;
        into.extend(page.rows);
    }
}

pub(super) fn the_feed_is_read_once_and_in_one_order<E: Engine>(ground: &dyn Ground) -> Kept {
    const EACH: u64 = 25;
    let store: Store<E> = open_store(ground)?;
    let done = std::sync::atomic::AtomicBool::new(false);
    let tell = |thread: u64| {
        (0..EACH).try_for_each(|n| {
            write(&store, move |txn| {
                txn.append(&[number(thread), number(2 * n)].concat())?;
                txn.append(&[number(thread), number(2 * n + 1)].concat())
            })
        })
    };
    // One reads on while rows come.
    let follow = || {
        let (mut at, mut seen) = (FeedCursor::START, Vec::new());
        loop {
            let is_last = done.load(std::sync::atomic::Ordering::SeqCst);
            read_on(&store, &mut at, 3, &mut seen)?;
            if is_last {
                return Ok::<_, StoreError>(seen);
            }
        }
    };
    let (told, followed) = std::thread::scope(|s| {
        let follower = s.spawn(follow);
        let all: Vec<_> = (0..4).map(|n| s.spawn(move || tell(n))).collect();
        let told: Vec<_> = all.into_iter().map(|t| t.join().unwrap()).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        (told, follower.join().unwrap())
    });
    told.into_iter().collect::<Result<(), _>>()?;
    let followed = followed?;
    let mut later = Vec::new();
    read_on(&store, &mut FeedCursor::START.clone(), 1000, &mut later)?;
    same(&followed.len(), &later.len(), "rows that two readers got")?;
    holds(followed == later, "two readers got rows in two orders")?;
    holds(
        later.is_sorted_by(|a, b| a.0 < b.0),
        "cursors that do not grow",
    )?;
    for thread in 0..4 {
        let own = later.iter().filter(|(_, row)| row[..8] == number(thread));
        let own: Vec<_> = own.map(|(_, row)| as_u64(&row[8..]).unwrap()).collect();
        same(&own, &(0..2 * EACH).collect(), "the rows of one thread")?;
    }
    // Both rows of a change come one after the other.
    let paired = later.chunks(2).all(|two| two[0].1[..8] == two[1].1[..8]);
    holds(paired, "rows of two changes are mixed")
}

pub(super) fn the_feed_says_what_was_trimmed<E: Engine>(ground: &dyn Ground) -> Kept {
    let store: Store<E> = open_store(ground)?;
    write(&store, |txn| {
        (0..10).try_for_each(|n| txn.append(&number(n)))
    })?;
    let at = |rows: usize| {
        let page = store.read(|r| feed::read(r, &FeedCursor::START, rows))?;
        same(&page.behind, &false, "behind before anything was trimmed")?;
        same(&page.rows.len(), &rows, "rows of a page")?;
        Ok::<_, Broken>(page.next)
    };
    let (early, middle, late) = (at(2)?, at(4)?, at(6)?);
    let gone = write(&store, move |txn| feed::trim(txn, &middle, 100))?;
    same(&gone, &4, "rows that went")?;
    for _ in 0..2 {
        for (cursor, behind, rows) in [
            (FeedCursor::START, true, 6),
            (early, true, 6),
            (middle, false, 6),
            (late, false, 4),
        ] {
            let page = store.read(|r| feed::read(r, &cursor, 100))?;
            same(
                &(page.behind, page.rows.len()),
                &(behind, rows),
                "behind, and rows",
            )?;
        }
        // Rows that come change nothing of that, and neither does another trim of the same.
        let more = write(&store, move |txn| feed::trim(txn, &middle, 100))?;
        same(&more, &0, "rows that went again")?;
    }
    // All may go but the newest.
    let end = store.read(|r| feed::last(r))?;
    write(&store, move |txn| feed::trim(txn, &end, 100))?;
    write(&store, |txn| txn.append(b"next"))?;
    let page = store.read(|r| feed::read(r, &end, 100))?;
    same(
        &(page.behind, page.rows.len()),
        &(false, 1),
        "after the end",
    )
}

pub(super) fn the_clock_never_goes_back<E: Engine>(ground: &dyn Ground) -> Kept {
    let mut last = 0;
    for is_cut in [false, true, false] {
        let store: Store<E> = open_store(ground)?;
        let now = store.running_ms();
        holds(now >= last, format!("{now} ms after {last} ms"))?;
        std::thread::sleep(Duration::from_millis(60));
        last = write(&store, |txn| {
            count(txn)?;
            Ok(txn.running_ms())
        })?;
        holds(last >= now + 60, format!("{last} ms 60 ms after {now} ms"))?;
        let read = store.read(|r| Ok::<_, StoreError>(r.running_ms()))?;
        holds(
            read >= last,
            format!("a read at {read} ms after a change at {last} ms"),
        )?;
        if is_cut {
            ground.cut();
        }
        store.close();
    }
    Ok(())
}
