//! Under writers, a collector that keeps no history, snapshots and kill -9 at once: what was acknowledged reads back, the
//! collector takes nothing that is live, and a snapshot never changes.

use super::kinds::{Files, Images, Kind};
use crate::harness::damage::check;
use crate::harness::{Client, Server, run, run_ok, text_of};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What names mean by what was acknowledged; of a change without an answer both may be true.
#[derive(Default)]
struct Book {
    sure: BTreeMap<String, Option<u64>>,
    unsure: BTreeMap<String, Vec<Option<u64>>>,
}

impl Book {
    fn note(&mut self, name: &str, number: Option<u64>, acknowledged: bool) {
        if acknowledged {
            self.sure.insert(name.to_owned(), number);
            self.unsure.remove(name);
        } else {
            self.unsure.entry(name.to_owned()).or_default().push(number);
        }
    }
}

/// One client that puts and deletes names of its own until it is told to stop.
async fn work<K: Kind>(
    kind: &K,
    client: Client,
    who: u64,
    next: Arc<AtomicU64>,
    book: Arc<Mutex<Book>>,
    until: tokio::time::Instant,
) {
    let mut turn = who;
    while tokio::time::Instant::now() < until {
        turn += 1;
        let name = format!("n{who}-{}", turn % 6);
        if turn % 5 == 4 {
            let there = book
                .lock()
                .unwrap()
                .sure
                .get(&name)
                .copied()
                .flatten()
                .is_some();
            if there {
                let done = kind.delete(&client, &name).await;
                book.lock().unwrap().note(&name, None, done);
            }
            continue;
        }
        let number = next.fetch_add(1, Ordering::Relaxed);
        let done = kind.put(&client, &name, number).await;
        book.lock().unwrap().note(&name, Some(number), done);
    }
}

/// Every name means what was acknowledged last, or what a change without an answer after that would have made it mean.
async fn assert_book<K: Kind>(kind: &K, client: &Client, book: &mut Book, snapshot: Option<&str>) {
    for (name, sure) in &mut book.sure {
        let mut may = vec![*sure];
        may.extend(book.unsure.get(name).into_iter().flatten());
        let got = client.get(&kind.path(name, snapshot)).await;
        let is = if got.status == 404 {
            None
        } else {
            assert_eq!(got.status, 200, "{name}: {}", got.text());
            let found = may
                .iter()
                .flatten()
                .find(|number| kind.bytes(**number) == got.body);
            Some(*found.unwrap_or_else(|| panic!("{name} means what nobody put")))
        };
        assert!(may.contains(&is), "{name} is {is:?}, not one of {may:?}");
        if let Some(number) = is {
            assert!(
                kind.is_whole(client, number, snapshot).await,
                "{name} lacks content"
            );
        }
        // From here on that is what it means.
        *sure = is;
    }
    book.unsure.clear();
}

/// Writers, the collector with a history of no length, snapshots and kills at once.
async fn hold<K: Kind>(kind: K) {
    let mut server = Server::start().await;
    kind.make(&server);
    let dir = server.dir();
    let book = Arc::new(Mutex::new(Book::default()));
    let next = Arc::new(AtomicU64::new(0));
    let mut snapshots: Vec<(String, BTreeMap<String, Option<u64>>)> = Vec::new();
    for round in 0..3_u64 {
        let until = tokio::time::Instant::now() + Duration::from_millis(1200 + 400 * round);
        let writers = (0..3).map(|who| {
            let (next, book) = (Arc::clone(&next), Arc::clone(&book));
            work(&kind, server.admin(), who, next, book, until)
        });
        let collects = async {
            let dir = dir.clone();
            tokio::task::spawn_blocking(move || {
                let done = run(&["gc", "--purge-history", "--data", &dir]);
                assert!(done.status.success(), "{}", text_of(&done));
            })
            .await
            .unwrap();
        };
        tokio::join!(futures_util::future::join_all(writers), collects);
        // Killed while a last change is on its way.
        let (admin, number) = (server.admin(), next.fetch_add(1, Ordering::Relaxed));
        let last = kind.put(&admin, "last", number);
        let delay = tokio::time::sleep(Duration::from_millis(2 + 3 * round));
        let done = tokio::select! {
            done = last => done,
            () = delay => false,
        };
        book.lock().unwrap().note("last", Some(number), done);
        if !book.lock().unwrap().sure.contains_key("last") {
            book.lock().unwrap().sure.insert("last".into(), None);
        }
        server.kill();
        server.restart().await;
        let anyone = server.anonymous();
        let mut now = std::mem::take(&mut *book.lock().unwrap());
        assert_book(&kind, &anyone, &mut now, None).await;
        let title = format!("round-{round}");
        run_ok(&[
            "snapshot",
            "create",
            K::REPO,
            "--as",
            &title,
            "--data",
            &dir,
        ]);
        snapshots.push((title, now.sure.clone()));
        *book.lock().unwrap() = now;
        for (title, sure) in &snapshots {
            let mut then = Book {
                sure: sure.clone(),
                ..Book::default()
            };
            assert_book(&kind, &anyone, &mut then, Some(title)).await;
        }
    }
    run_ok(&["gc", "--purge-history", "--data", &dir]);
    let anyone = server.anonymous();
    for (title, sure) in &snapshots {
        let mut then = Book {
            sure: sure.clone(),
            ..Book::default()
        };
        assert_book(&kind, &anyone, &mut then, Some(title)).await;
    }
    let (code, report) = check(&server.data(), &["--deep"]);
    assert_eq!(code, 0, "{report:#}");
}

#[tokio::test]
async fn the_laws_hold_for_images() {
    hold(Images).await;
}

#[tokio::test]
async fn the_laws_hold_for_files() {
    hold(Files).await;
}
