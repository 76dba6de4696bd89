//! What files were: history, its end, crashes, and `check`.

use std::time::Duration;

use dryport::repo::rows::keys::{self, Name};
use dryport::repo::rows::record::UsageRecord;
use dryport::store::record::Record as _;
use dryport::store::{Get as _, Lane, Need, Store, StoreError, Table};
use dryport::types::{Digest, FilePath, RepoId, Rev};
use serde_json::Value;

use crate::core::past::closed_store;
use crate::formats::file::reading::{create, put, server};
use crate::harness::content::{noise, sha256};
use crate::harness::{Client, SOON, Server, init, run, run_ok, text_of, until};

fn check(server: &Server, more: &[&str]) -> (Option<i32>, Value) {
    let dir = server.dir();
    let mut args = vec!["check", "--data", &dir, "--json"];
    args.extend(more);
    let output = run(&args);
    let report = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        report.unwrap_or_else(|e| panic!("{e}: {}", text_of(&output))),
    )
}

fn clean(server: &Server) {
    let (code, report) = check(server, &["--deep", "--fast"]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["problems"], serde_json::json!([]), "{report:#}");
}

async fn names(client: &Client, path: &str) -> Vec<String> {
    let json = [("accept", "application/json")];
    let page = client
        .send("GET", path, &json, b"")
        .await
        .expect(200)
        .json();
    let entries = page["entries"].as_array().unwrap().iter();
    entries
        .map(|e| e["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_revision_can_be_read() {
    let server = server().await;
    let admin = server.admin();
    put(&admin, "/r/files/a", b"one").await.expect(201);
    put(&admin, "/r/files/d/b", b"b").await.expect(201);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let then = jiff::Timestamp::now()
        .strftime("%Y%m%dt%H%M%Sz")
        .to_string();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    put(&admin, "/r/files/a", b"two").await.expect(200);
    admin.delete("/r/files/d/b").await.expect(204);
    put(&admin, "/r/files/d", b"now a file").await.expect(201);
    for (at, a, list) in [
        ("@g0", None, &[][..]),
        ("@g1", Some("one"), &["a"]),
        ("@g2", Some("one"), &["a", "d/"]),
        ("@g3", Some("two"), &["a", "d/"]),
        ("@g4", Some("two"), &["a"]),
        ("@g5", Some("two"), &["a", "d"]),
        ("", Some("two"), &["a", "d"]),
        (&format!("@{then}"), Some("one"), &["a", "d/"]),
        ("@19990101", None, &[]),
    ] {
        let reply = admin.get(&format!("/r/files{at}/a")).await;
        match a {
            Some(text) => assert_eq!(reply.expect(200).text(), text, "{at}"),
            None => assert_eq!(reply.status, 404, "{at}"),
        }
        assert_eq!(names(&admin, &format!("/r/files{at}/")).await, list, "{at}");
    }
    let past = admin.get("/r/files@g1/a").await;
    assert_eq!(past.header("cache-control"), "public, max-age=300");
    assert_eq!(past.header("etag"), format!("\"{}\"", sha256(b"one")));
    let timed = admin.get(&format!("/r/files@{then}/a")).await;
    assert_eq!(timed.header("cache-control"), "no-cache");
    let text = admin.get("/r/files@g6/a").await.expect(409).text();
    assert!(text.contains("no revision 6 yet"), "{text}");
    let text = admin.get("/r/files@june/a").await.expect(404).text();
    assert!(text.contains("has no snapshot june"), "{text}");
    for (method, path) in [
        ("PUT", "/r/files@g1/a"),
        ("DELETE", "/r/files@g1/a"),
        ("PUT", "/r/files@june/a"),
    ] {
        let reply = admin
            .send(method, path, &[("content-length", "0")], b"")
            .await;
        let reply = reply.expect(405);
        assert_eq!(reply.header("allow"), "GET, HEAD");
        assert!(
            reply.text().contains("write to /r/files/"),
            "{}",
            reply.text()
        );
    }
    clean(&server);
}

/// A server whose history and leases end at once, and that sweeps when it is told to.
async fn forgetful() -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_BLOBS__LEASE", "1s"),
        ("DRYPORT_HISTORY__KEEP", "0s"),
    ];
    let server = Server::serve(home, &[], &env).await;
    create(&server, "files");
    server
}

fn contents(server: &Server) -> u64 {
    crate::core::quota::exact::on_disk(server, &["blobs"]).1
}

async fn swept_to(server: &Server, bytes: u64) {
    let dir = server.dir();
    until("the bytes are freed", SOON, async || {
        run_ok(&["gc", "--data", &dir]);
        contents(server) == bytes
    })
    .await;
}

#[tokio::test]
async fn the_bytes_of_a_file_go_with_its_history() {
    let server = forgetful().await;
    let admin = server.admin();
    let (one, two) = (noise(1, 200_000), noise(2, 300_000));
    put(&admin, "/r/files/a", &one).await.expect(201);
    put(&admin, "/r/files/b", &one).await.expect(201);
    put(&admin, "/r/files/b", &two).await.expect(200);
    assert_eq!(contents(&server), 500_000);
    admin.delete("/r/files/b").await.expect(204);
    swept_to(&server, 200_000).await;
    assert!(admin.get("/r/files/a").await.expect(200).body == one);
    // The way back is gone with it.
    admin.get("/r/files@g3/b").await.expect(409);
    clean(&server);
    admin.delete("/r/files/a").await.expect(204);
    swept_to(&server, 0).await;
    put(&admin, "/r/files/a", &one).await.expect(201);
    run_ok(&["repo", "delete", "files", "--data", &server.dir()]);
    swept_to(&server, 0).await;
    clean(&server);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut server = server().await;
    let mut is = [const { None::<String> }; 6];
    for round in 0..4_u64 {
        let mut puts = tokio::task::JoinSet::new();
        for n in 0..12_u64 {
            let admin = server.admin();
            puts.spawn(async move {
                let path = format!("/r/files/k/{}", n % 6);
                let bytes = noise(round * 100 + n, 2000 + usize::try_from(n).unwrap() * 30_000);
                let reply = admin.maybe("PUT", &path, &[], &bytes).await;
                let taken = reply.is_some_and(|reply| [200, 201].contains(&reply.status));
                (path, sha256(&bytes), taken)
            });
        }
        tokio::time::sleep(Duration::from_millis(30 + 40 * round)).await;
        server.kill();
        let done = puts.join_all().await;
        server.restart().await;
        for (n, is) in is.iter_mut().enumerate() {
            let path = format!("/r/files/k/{n}");
            let of_it = done.iter().filter(|(p, _, _)| *p == path);
            let mut could_be: Vec<_> = of_it.clone().map(|(_, d, _)| Some(d.clone())).collect();
            if !of_it.clone().any(|(_, _, taken)| *taken) {
                could_be.push(is.take());
            }
            let now = server.admin().get(&path).await;
            *is = (now.status != 404).then(|| sha256(&now.expect(200).body));
            assert!(could_be.contains(is), "{path}");
        }
    }
    clean(&server);
}

#[tokio::test]
async fn a_busy_repository_is_right_in_every_row() {
    let server = forgetful().await;
    let mut busy = tokio::task::JoinSet::new();
    for worker in 0..6_u64 {
        let admin = server.admin();
        busy.spawn(async move {
            for n in 0..40_u64 {
                let path = format!("/r/files/w{}/{}", (worker + n) % 4, n % 7);
                let bytes = noise(n % 5, 500 + usize::try_from(n % 3).unwrap() * 70_000);
                let reply = match n % 4 {
                    3 => admin.delete(&path).await,
                    _ => put(&admin, &path, &bytes).await,
                };
                assert!(
                    [200, 201, 204, 404].contains(&reply.status),
                    "{}",
                    reply.text()
                );
            }
        });
    }
    busy.join_all().await;
    run_ok(&["gc", "--data", &server.dir()]);
    clean(&server);
    let show = run_ok(&["repo", "show", "files", "--json", "--data", &server.dir()]);
    let show: Value = serde_json::from_str(&show).unwrap();
    let mut listed = 0;
    for folder in names(&server.admin(), "/r/files/").await {
        listed += names(&server.admin(), &format!("/r/files/{folder}"))
            .await
            .len();
    }
    assert_eq!(show["files"], listed);
}

/// Damages rows of a server that has two files with one content and one more, and is ended.
async fn damaged(damage: impl FnOnce(&Store, RepoId)) -> Server {
    let mut server = server().await;
    let admin = server.admin();
    for (path, bytes) in [
        ("a", noise(1, 70_000)),
        ("d/b", noise(1, 70_000)),
        ("c", noise(2, 900)),
    ] {
        put(&admin, &format!("/r/files/{path}"), &bytes)
            .await
            .expect(201);
    }
    put(&admin, "/r/files/c", &noise(3, 900)).await.expect(200);
    let store = closed_store(&mut server);
    let id = store
        .read(|r| r.get(Table::Names, &keys::name("files")))
        .unwrap();
    let id = RepoId(u64::from_be_bytes(id.unwrap().try_into().unwrap()));
    damage(&store, id);
    store.close();
    server
}

fn write(store: &Store, rows: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>) {
    let write = store.write_blocking(Lane::Request, Need::Keeps, "damage", move |tx| {
        for (table, key, value) in &rows {
            match value {
                Some(value) => tx.put(*table, key, value)?,
                None => tx.delete(*table, key)?,
            }
        }
        Ok::<_, StoreError>(())
    });
    write.unwrap();
}

fn digest(seed: u64, len: usize) -> Digest {
    sha256(&noise(seed, len)).parse().unwrap()
}

/// The damage is told of, repaired, and the files are what they were.
async fn mended(mut server: Server, what: &str) {
    let (code, report) = check(&server, &[]);
    assert_eq!(code, Some(4), "{what}: {report:#}");
    let (code, report) = check(&server, &["--repair"]);
    assert_eq!(code, Some(0), "{what}: {report:#}");
    clean(&server);
    server.restart().await;
    let admin = server.admin();
    for (path, bytes) in [
        ("a", noise(1, 70_000)),
        ("d/b", noise(1, 70_000)),
        ("c", noise(3, 900)),
    ] {
        let got = admin.get(&format!("/r/files/{path}")).await.expect(200);
        assert!(got.body == bytes, "{what}: {path}");
    }
    put(&admin, "/r/files/a", b"new").await.expect(200);
    admin.delete("/r/files/d/b").await.expect(204);
    clean(&server);
}

#[tokio::test]
async fn damaged_rows_of_files_are_repaired() {
    let count = |store: &Store, id: RepoId, bytes: Option<Vec<u8>>| {
        let key = keys::files(&digest(1, 70_000), id);
        assert!(
            store
                .read(|r| r.get(Table::Mentions, &key))
                .unwrap()
                .is_some()
        );
        write(store, vec![(Table::Mentions, key, bytes)]);
    };
    let server = damaged(|store, id| count(store, id, None)).await;
    mended(server, "no count of a content").await;
    let server = damaged(|store, id| count(store, id, Some(7_u64.to_be_bytes().to_vec()))).await;
    mended(server, "a wrong count of a content").await;
    let server = damaged(|store, id| {
        let key = keys::files(&digest(5, 5), id);
        write(
            store,
            vec![(Table::Mentions, key, Some(1_u64.to_be_bytes().to_vec()))],
        );
    })
    .await;
    mended(server, "a count of nothing").await;
    let server = damaged(|store, id| {
        let row = store
            .read(|r| r.get(Table::Usage, &keys::repo(id)))
            .unwrap();
        let mut usage = UsageRecord::from_bytes(&row.unwrap()).unwrap();
        (usage.files, usage.bytes) = (usage.files + 3, 1);
        write(
            store,
            vec![(
                Table::Usage,
                keys::repo(id),
                Some(usage.to_bytes().unwrap()),
            )],
        );
    })
    .await;
    mended(server, "wrong usage").await;
    let server = damaged(|store, id| {
        let path: FilePath = "a".parse().unwrap();
        let own = keys::item_ref(&digest(1, 70_000), id, &Name::path(&path), Rev(1));
        assert!(store.read(|r| r.get(Table::Refs, &own)).unwrap().is_some());
        write(store, vec![(Table::Refs, own, None)]);
    })
    .await;
    mended(server, "no reference of a file").await;
    let server = damaged(|store, _| {
        let key = keys::tree("files");
        assert!(store.read(|r| r.get(Table::Meta, &key)).unwrap().is_some());
        write(store, vec![(Table::Meta, key, None)]);
    })
    .await;
    mended(server, "no name of a tree").await;
    let server = damaged(|store, _| {
        let key = keys::tree("files/none");
        write(store, vec![(Table::Meta, key, Some(vec![0; 8]))]);
    })
    .await;
    mended(server, "a name of no tree").await;
}

#[tokio::test]
async fn a_file_whose_bytes_are_gone_is_told_of_and_a_put_heals_it() {
    let mut server = server().await;
    let admin = server.admin();
    let bytes = noise(1, 200_000);
    put(&admin, "/r/files/a", &bytes).await.expect(201);
    server.kill();
    let hex = sha256(&bytes)[7..].to_owned();
    let folder = server.data().join("blobs/sha256").join(&hex[..2]);
    for entry in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let (code, report) = check(&server, &[]);
    assert_eq!(code, Some(4), "{report:#}");
    server.restart().await;
    let text = admin.get("/r/files/a").await.expect(500).text();
    assert!(text.contains("damaged or gone"), "{text}");
    put(&admin, "/r/files/a", &bytes).await.expect(200);
    assert!(admin.get("/r/files/a").await.expect(200).body == bytes);
    clean(&server);
}
