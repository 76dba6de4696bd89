//! What comes into a batch, and in which order.

use super::*;

#[test]
fn requests_go_first_and_background_one_at_a_time() {
    let (_dir, store) = store();
    let (go, held) = stop_writer(&store);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut threads = Vec::new();
    for (i, lane) in [Lane::Background, Lane::Background, Lane::Request]
        .into_iter()
        .enumerate()
    {
        let (store, order) = (store.clone(), Arc::clone(&order));
        let before = i as u64;
        let waiting = store.clone();
        threads.push(thread::spawn(move || {
            let done: Done<()> = store.write_blocking(lane, Need::Grows, "order", move |txn| {
                lock_of(&order).push(i);
                txn.put(Table::Names, &[i as u8], b"")
            });
            done.unwrap();
        }));
        until(|| waiting.counters().queued > before);
    }
    drop(go);
    held.join().unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(*lock_of(&order), [2, 0, 1]);
    assert_eq!(store.counters().commits, 3);
}

#[test]
fn the_background_gets_its_turn_however_many_requests_come() {
    let (_dir, store) = store();
    let (go, held) = stop_writer(&store);
    let enough = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3u8)
        .map(|n| {
            let (store, enough) = (store.clone(), Arc::clone(&enough));
            thread::spawn(move || {
                while !enough.load(SeqCst) {
                    let done: Done<()> =
                        store.write_blocking(Lane::Request, Need::Grows, "client", move |txn| {
                            txn.put(Table::Names, &[n], b"")
                        });
                    done.unwrap();
                }
            })
        })
        .collect();
    until(|| store.counters().queued == 3);
    drop(go);
    held.join().unwrap();
    for n in 9..14 {
        let done: Done<()> =
            store.write_blocking(Lane::Background, Need::Grows, "sweep", move |txn| {
                txn.put(Table::Names, &[n], b"")
            });
        done.unwrap();
    }
    enough.store(true, SeqCst);
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_full_lane_refuses_after_its_patience() {
    let lanes = Lanes::new();
    for _ in 0..64 {
        lanes
            .place_blocking(Lane::Background, Duration::ZERO)
            .unwrap();
    }
    let busy = lanes.place_blocking(Lane::Background, Duration::from_millis(20));
    assert_eq!(busy, Err(StoreError::Busy));
    assert_eq!(StoreError::Busy.kind(), StoreErrorKind::Busy);
    lanes.place_blocking(Lane::Request, Duration::ZERO).unwrap();
}

#[test]
fn a_batch_ends_when_it_has_a_mebibyte() {
    let (_dir, store) = store();
    let (go, held) = stop_writer(&store);
    let clients: Vec<_> = (0..40u8)
        .map(|n| {
            let store = store.clone();
            thread::spawn(move || {
                let done: Done<()> =
                    store.write_blocking(Lane::Request, Need::Grows, "large", move |txn| {
                        txn.put(Table::Bytes, &[n], &vec![n; 64 << 10])
                    });
                done.unwrap();
            })
        })
        .collect();
    until(|| store.counters().queued == 40);
    drop(go);
    held.join().unwrap();
    for client in clients {
        client.join().unwrap();
    }
    // With the one that held the writer 17, then 16, then 8.
    let counters = store.counters();
    assert_eq!((counters.commits, counters.largest_batch), (3, 17));
}
