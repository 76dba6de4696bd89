//! Laws that hold for every kind of repository, each run for all of them through one trait: what was acknowledged reads back,
//! the collector eats nothing that is live, a snapshot never changes, and a kill -9 anywhere changes none of this.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, put_manifest, sha256,
};
use crate::harness::damage::check;
use crate::harness::{Client, Server, run, run_ok, text_of};

/// A kind of repository, as the laws see it: names that mean bytes.
trait Kind: Sync {
    /// The repository of the tests.
    const REPO: &'static str;

    /// Makes the repository, where that takes a command.
    fn make(&self, server: &Server);

    /// What a name means after it was put with this number.
    fn bytes(&self, number: u64) -> Vec<u8>;

    /// Puts a name; whether that was acknowledged.
    async fn put(&self, client: &Client, name: &str, number: u64) -> bool;

    /// Deletes a name; whether that was acknowledged.
    async fn delete(&self, client: &Client, name: &str) -> bool;

    /// Where a name is read, now or in a snapshot.
    fn path(&self, name: &str, snapshot: Option<&str>) -> String;

    /// Whether all that the bytes of a name need is there, too.
    async fn is_whole(&self, client: &Client, number: u64, snapshot: Option<&str>) -> bool;
}

struct Images;

impl Images {
    fn layer(number: u64) -> Vec<u8> {
        noise(
            1000 + number,
            900 + usize::try_from(number % 5).unwrap() * 30_000,
        )
    }
}

impl Kind for Images {
    const REPO: &'static str = "law/images";

    fn make(&self, _: &Server) {}

    fn bytes(&self, number: u64) -> Vec<u8> {
        bytes_of(&image(b"{}", &[&Self::layer(number)]))
    }

    async fn put(&self, client: &Client, name: &str, number: u64) -> bool {
        let layer = Self::layer(number);
        for blob in [&b"{}"[..], &layer] {
            let path = format!("/v2/{}/blobs/uploads/?digest={}", Self::REPO, sha256(blob));
            let octets = [("content-type", "application/octet-stream")];
            match client.maybe("POST", &path, &octets, blob).await {
                Some(reply) if reply.status == 201 => {}
                _ => return false,
            }
        }
        let path = format!("/v2/{}/manifests/{name}", Self::REPO);
        let kind = [("content-type", OCI_MANIFEST)];
        let done = client.maybe("PUT", &path, &kind, &self.bytes(number)).await;
        done.is_some_and(|reply| reply.status == 201)
    }

    async fn delete(&self, client: &Client, name: &str) -> bool {
        let path = format!("/v2/{}/manifests/{name}", Self::REPO);
        let done = client.maybe("DELETE", &path, &[], &[]).await;
        done.is_some_and(|reply| reply.status == 202)
    }

    fn path(&self, name: &str, snapshot: Option<&str>) -> String {
        match snapshot {
            Some(title) => format!("/v2/snap/{title}/{}/manifests/{name}", Self::REPO),
            None => format!("/v2/{}/manifests/{name}", Self::REPO),
        }
    }

    async fn is_whole(&self, client: &Client, number: u64, snapshot: Option<&str>) -> bool {
        let layer = Self::layer(number);
        let digest = sha256(&layer);
        let repo = match snapshot {
            Some(title) => format!("snap/{title}/{}", Self::REPO),
            None => Self::REPO.to_owned(),
        };
        let got = client.get(&format!("/v2/{repo}/blobs/{digest}")).await;
        got.status == 200 && got.body == layer
    }
}

struct Files;

impl Kind for Files {
    const REPO: &'static str = "law/files";

    fn make(&self, server: &Server) {
        run_ok(&[
            "repo",
            "create",
            Self::REPO,
            "--kind",
            "file",
            "--data",
            &server.dir(),
        ]);
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        // Some are the same as others, some lie in the database and some in files.
        let seed = 5000 + number % 40;
        noise(seed, 700 + usize::try_from(number % 4).unwrap() * 40_000)
    }

    async fn put(&self, client: &Client, name: &str, number: u64) -> bool {
        let path = self.path(name, None);
        let done = client.maybe("PUT", &path, &[], &self.bytes(number)).await;
        done.is_some_and(|reply| matches!(reply.status, 200 | 201))
    }

    async fn delete(&self, client: &Client, name: &str) -> bool {
        let done = client
            .maybe("DELETE", &self.path(name, None), &[], &[])
            .await;
        done.is_some_and(|reply| reply.status == 204)
    }

    fn path(&self, name: &str, snapshot: Option<&str>) -> String {
        let at = snapshot
            .map(|title| format!("@{title}"))
            .unwrap_or_default();
        format!("/r/{}{at}/pool/{name}/file.bin", Self::REPO)
    }

    async fn is_whole(&self, _: &Client, _: u64, _: Option<&str>) -> bool {
        true
    }
}

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

#[tokio::test]
async fn what_one_kind_has_is_not_seen_through_the_other() {
    let server = Server::start().await;
    Files.make(&server);
    let admin = server.admin();
    assert!(Files.put(&admin, "a", 1).await);
    let bytes = Files.bytes(1);
    let blob = format!("/v2/{}/blobs/{}", Files::REPO, sha256(&bytes));
    admin.get(&blob).await.expect(404);
    admin
        .get(&format!("/v2/{}/tags/list", Files::REPO))
        .await
        .expect(404);
    push_blob(&admin, Images::REPO, b"{}").await;
    let manifest = bytes_of(&image(b"{}", &[]));
    put_manifest(&admin, Images::REPO, "v1", OCI_MANIFEST, &manifest).await;
    admin
        .get(&format!("/r/{}/v1", Images::REPO))
        .await
        .expect(404);
}
