//! Uploads that are refused, broken off or left by a process before: they stay with who began them, and what it takes to go
//! on with one is bounded.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dryport::repo::rows::record::UploadRecord;
use dryport::store::Table;
use dryport::store::record::Record as _;
use dryport::types::{Algorithm, Hasher, UploadId};
use futures_util::future::join_all;

use crate::core::quota::exact::on_disk;
use crate::harness::content::{noise, push_blob, sha256};
use crate::harness::damage::Rows;
use crate::harness::{ADMIN, Client, Server, basic, init, run_ok, with_query};
use crate::http::abuse::metric;

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const PIECE: usize = 100_000;
const FAR: u64 = 1 << 60;
const REHASHED: &str = "dryport_uploads_rehashed_bytes_total";
const LISTED: &str = "dryport_uploads_listed_total";
const OPEN: &str = "dryport_uploads_open";
const GIB: u64 = 1 << 30;

async fn server(env: &[(&str, &str)]) -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    Server::serve(home, &[], env).await
}

fn path(at: &str) -> &str {
    &at[at.find("/v2/").unwrap()..]
}

async fn begin(client: &Client) -> String {
    let start = client.post("/v2/a/blobs/uploads/").await;
    path(&start.expect(202).location()).to_owned()
}

/// An upload with a piece; its path.
async fn one_piece(client: &Client, seed: u64) -> String {
    let at = begin(client).await;
    let sent = client
        .send("PATCH", &at, &[OCTETS], &noise(seed, PIECE))
        .await;
    path(&sent.expect(202).location()).to_owned()
}

/// Sends the head of a request alone.
fn head(server: &Server, method: &str, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let wait = Some(Duration::from_mins(1));
    stream.set_read_timeout(wait).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-type: {}\r\n{headers}\r\n",
        server.host(),
        basic(ADMIN.0, ADMIN.1),
        OCTETS.1
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The status that such a request gets.
fn status(server: &Server, method: &str, path: &str, headers: &str) -> u16 {
    let mut stream = head(server, method, path, headers);
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).unwrap();
    std::str::from_utf8(&bytes[9..]).unwrap().parse().unwrap()
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(3);
    while !is_so().await {
        assert!(Instant::now() < end, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stop(server: &mut Server) {
    server.signal("TERM");
    server.exit_code(Duration::from_mins(1)).await.unwrap();
}

fn rows(server: &Server) -> usize {
    Rows::open(&server.data()).all(Table::Uploads).len()
}

/// The file of an upload.
fn file_of(server: &Server, at: &str) -> PathBuf {
    let id = at.rsplit('/').next().unwrap();
    let all = std::fs::read_dir(server.data().join("uploads")).unwrap();
    let mut all = all.map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(id);
    all.find(is_it).unwrap()
}

/// Puts what cannot be removed as a file in a file's place.
fn obstruct(file: &Path) {
    std::fs::remove_file(file).unwrap();
    std::fs::create_dir(file).unwrap();
}

#[tokio::test]
async fn a_chunk_that_announces_too_much_leaves_its_upload_as_it_was() {
    const MOST: usize = 12;
    let server = server(&[("DRYPORT_LIMITS__UPLOADS", "12")]).await;
    let admin = server.admin();
    let mut all = Vec::new();
    for seed in 0..MOST as u64 - 1 {
        all.push(one_piece(&admin, seed).await);
    }
    let empty = begin(&admin).await;
    let put = |at: &str| with_query(at, &format!("digest={}", sha256(b"x")));
    let by_length = format!("content-length: {FAR}\r\n");
    let by_range = format!("transfer-encoding: chunked\r\ncontent-range: {PIECE}-{FAR}\r\n");
    let expected = format!("0-{}", PIECE - 1);
    for _ in 0..3 {
        // Before each of these answers the server waits half a second for a body that does not come: all uploads at once.
        std::thread::scope(|all_at_once| {
            for at in &all {
                let (server, put, by_length, by_range) = (&server, &put, &by_length, &by_range);
                all_at_once.spawn(move || {
                    for (method, at, headers) in [
                        ("PATCH", at.clone(), by_length),
                        ("PATCH", at.clone(), by_range),
                        ("PUT", put(at), by_length),
                        ("PUT", put(at), by_range),
                    ] {
                        assert_eq!(status(server, method, &at, headers), 507, "{method}");
                    }
                });
            }
            for (method, at) in [("PATCH", empty.clone()), ("PUT", put(&empty))] {
                assert_eq!(status(&server, method, &at, &by_length), 507);
            }
        });
        for at in &all {
            let stands = admin.get(at).await.expect(204);
            assert_eq!(stands.header("range"), expected);
        }
        admin.get(&empty).await.expect(204);
    }
    assert_eq!(metric(&server, OPEN).await, MOST as u64);
    assert_eq!(metric(&server, REHASHED).await, 0);
    let more = admin.post("/v2/a/blobs/uploads/").await;
    more.refused(429, "TOOMANYREQUESTS");
    for (seed, at) in all.iter().enumerate() {
        let bytes = noise(seed as u64, PIECE);
        let put = with_query(at, &format!("digest={}", sha256(&bytes)));
        admin.send("PUT", &put, &[OCTETS], b"").await.expect(201);
    }
    admin.delete(&empty).await.expect(204);
    assert_eq!(metric(&server, OPEN).await, 0);
    begin(&admin).await;
}

/// However the server ended: by its rows, and by its files where there are none.
#[tokio::test]
async fn uploads_of_before_a_restart_count_for_who_began_them() {
    for ends in ["TERM", "KILL"] {
        let mut server = server(&[("DRYPORT_LIMITS__UPLOADS", "4")]).await;
        server.add_user("bob", "bobs-password", &["--role", "writer", "--on", ""]);
        let bob = |server: &Server| server.client(Some(("bob", "bobs-password")));
        push_blob(&server.admin(), "a", b"there").await;
        let mut all = Vec::new();
        for seed in 0..4 {
            all.push(one_piece(&bob(&server), seed).await);
        }
        for _ in 0..2 {
            if ends == "TERM" {
                stop(&mut server).await;
                assert_eq!(rows(&server), 4, "each has a row");
            } else {
                server.kill();
                assert_eq!(rows(&server), 0, "none has a row");
            }
            server.restart().await;
            // Also of one that was taken up since.
            bob(&server).get(&all[0]).await.expect(204);
            let more = bob(&server).post("/v2/a/blobs/uploads/").await;
            assert_eq!(more.status, 429, "after {ends}");
            begin(&server.admin()).await;
            begin(&server.admin()).await;
        }
        // Each way that one can end makes room.
        let bob = bob(&server);
        bob.delete(&all[1]).await.expect(204);
        begin(&bob).await;
        let bytes = noise(2, PIECE);
        let put = with_query(&all[2], &format!("digest={}", sha256(&bytes)));
        bob.send("PUT", &put, &[OCTETS], b"").await.expect(201);
        begin(&bob).await;
        let more = bob.post("/v2/a/blobs/uploads/").await;
        more.refused(429, "TOOMANYREQUESTS");
        // And so does one that turns out to be damaged, or goes with its repository.
        if ends == "TERM" {
            std::fs::remove_file(file_of(&server, &all[3])).unwrap();
            bob.get(&all[3]).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
            begin(&bob).await;
        }
        run_ok(&["repo", "delete", "--data", &server.dir(), "a"]);
        for _ in 0..4 {
            begin(&bob).await;
        }
    }
}

/// Uploads as a process before left them: of zeros, with a row that says nothing of their hash. Their paths.
async fn leave(server: &mut Server, count: u8, len: u64) -> Vec<String> {
    push_blob(&server.admin(), "a", b"there").await;
    stop(server).await;
    let rows = Rows::open(&server.data());
    let repo = rows.repo("a").0;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let row = UploadRecord {
        repo,
        algorithm: Algorithm::Sha256.code(),
        offset: 0,
        hash_state: Hasher::new(Algorithm::Sha256).save(),
        boot_id: boot.trim().to_owned(),
        saved_ms: 0,
        owner: String::new(),
    };
    let mut paths = Vec::new();
    for n in 0..count {
        let id = [n + 1; 16];
        rows.put(Table::Uploads, &id, &row.to_bytes().unwrap());
        let id = UploadId(id);
        let name = format!("{id}.{repo}.sha256");
        let file = std::fs::File::create(server.data().join("uploads").join(name)).unwrap();
        file.set_len(len).unwrap();
        paths.push(format!("/v2/a/blobs/uploads/{id}"));
    }
    drop(rows);
    server.restart().await;
    paths
}

#[tokio::test]
async fn nothing_is_hashed_for_a_client_that_went_away() {
    let mut server = server(&[]).await;
    let paths = leave(&mut server, 1, 16 * GIB).await;
    let waits = head(&server, "GET", &paths[0], "");
    until("it is being hashed", async || {
        metric(&server, REHASHED).await > 0
    })
    .await;
    drop(waits);
    let mut before = 0;
    until("it ends", async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = metric(&server, REHASHED).await;
        std::mem::replace(&mut before, now) == now
    })
    .await;
    assert!(before < 16 * GIB, "{before} bytes were hashed");
}

#[tokio::test]
async fn others_are_served_while_many_uploads_are_hashed() {
    let mut server = server(&[]).await;
    let paths = leave(&mut server, 100, 2 * GIB).await;
    let waiting: Vec<TcpStream> = paths
        .iter()
        .map(|at| head(&server, "GET", at, ""))
        .collect();
    until("some are being hashed", async || {
        metric(&server, REHASHED).await > 0
    })
    .await;
    let before = metric(&server, REHASHED).await;
    // What no cache knows: each waits for a thread and for the store.
    for n in 0..50 {
        let name = format!("/v2/a/manifests/none{n}");
        server.admin().get(&name).await.expect(404);
    }
    let hashed = metric(&server, REHASHED).await - before;
    drop(waiting);
    // As long as the threads are all in use, some file of 2 GiB must end before anybody is served.
    assert!(hashed < 64 * GIB, "{hashed} bytes were hashed meanwhile");
    eprintln!("{hashed} bytes were hashed meanwhile");
}

#[tokio::test]
async fn an_upload_in_small_chunks_has_a_row_of_what_came() {
    let mut server = server(&[]).await;
    let admin = server.admin();
    let at = begin(&admin).await;
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(13) {
        let chunk = noise(sent, PIECE);
        let reply = admin.send("PATCH", &at, &[OCTETS], &chunk).await;
        reply.expect(202);
        sent += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.kill();
    let all = Rows::open(&server.data()).all(Table::Uploads);
    assert_eq!(all.len(), 1, "rows of {sent} chunks");
    let saved = UploadRecord::from_bytes(&all[0].1).unwrap().offset;
    assert!(saved > 0);
    server.restart().await;
    server.admin().get(&at).await.expect(204);
    let hashed = metric(&server, REHASHED).await;
    assert_eq!(hashed, sent * PIECE as u64 - saved);
    let mut bytes = Vec::new();
    for seed in 0..sent {
        bytes.extend(noise(seed, PIECE));
    }
    let put = with_query(&at, &format!("digest={}", sha256(&bytes)));
    let admin = server.admin();
    admin.send("PUT", &put, &[OCTETS], b"").await.expect(201);
}

#[tokio::test]
async fn looking_for_an_upload_lists_no_others() {
    const FILES: u64 = 500;
    let mut server = server(&[]).await;
    push_blob(&server.admin(), "a", b"there").await;
    let own = one_piece(&server.admin(), 1).await;
    server.kill();
    let repo = Rows::open(&server.data()).repo("a").0;
    for n in 0..FILES {
        let id = UploadId((u128::from(n) + 1).to_be_bytes());
        let name = format!("{id}.{repo}.sha256");
        std::fs::write(server.data().join("uploads").join(name), b"x").unwrap();
    }
    server.restart().await;
    let admin = server.admin();
    // The start, and the first look of who gives up idle ones.
    until("all were listed", async || {
        metric(&server, LISTED).await >= 2 * FILES
    })
    .await;
    let before = metric(&server, LISTED).await;
    let gets = (0..100u8).map(|n| {
        let (id, admin) = (UploadId([200 + n % 50; 16]), &admin);
        async move {
            let at = format!("/v2/a/blobs/uploads/{id}");
            admin.get(&at).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
        }
    });
    join_all(gets).await;
    let stands = admin.get(&own).await.expect(204);
    assert_eq!(stands.header("range"), format!("0-{}", PIECE - 1));
    // Those who give up idle ones may have looked twice meanwhile.
    let listed = metric(&server, LISTED).await - before;
    assert!(listed <= 3 * FILES, "{listed} files were looked at");
}

#[tokio::test]
async fn an_upload_that_cannot_be_removed_keeps_no_other() {
    let server = server(&[("DRYPORT_UPLOADS__IDLE", "1s")]).await;
    let admin = server.admin();
    let mut all = Vec::new();
    for seed in 0..30 {
        all.push(one_piece(&admin, seed).await);
    }
    for at in &all[..5] {
        obstruct(&file_of(&server, at));
    }
    until("all others are gone", async || {
        on_disk(&server, &["uploads"]).0 == 0
    })
    .await;
    until("they count no more", async || {
        metric(&server, OPEN).await == 5
    })
    .await;
}

#[tokio::test]
async fn content_that_cannot_be_removed_keeps_no_other() {
    let env = [
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_GC__FILES_PER_SECOND", "2"),
        ("DRYPORT_BLOBS__LEASE", "1s"),
        ("DRYPORT_HISTORY__KEEP", "0s"),
    ];
    let mut server = server(&env).await;
    for seed in 0..7 {
        push_blob(&server.admin(), "a", &noise(seed, PIECE)).await;
    }
    let mut files = Vec::new();
    let mut open = vec![server.data().join("blobs")];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    assert_eq!(files.len(), 7);
    for file in &files[..3] {
        obstruct(file);
    }
    until("all others are gone", async || {
        run_ok(&["gc", "--data", &server.dir()]);
        on_disk(&server, &["blobs"]).0 == 0
    })
    .await;
    let condemned = |server: &Server| Rows::open(&server.data()).all(Table::Condemned).len();
    stop(&mut server).await;
    assert_eq!(condemned(&server), 3);
    // They go once they can.
    for file in &files[..3] {
        std::fs::remove_dir(file).unwrap();
    }
    server.restart().await;
    run_ok(&["gc", "--data", &server.dir()]);
    stop(&mut server).await;
    assert_eq!(condemned(&server), 0);
}

#[tokio::test]
async fn a_row_without_a_file_goes() {
    let mut server = server(&[]).await;
    let paths = leave(&mut server, 3, 1).await;
    for at in &paths[1..] {
        std::fs::remove_file(file_of(&server, at)).unwrap();
    }
    until("only the one that has a file is left", async || {
        stop(&mut server).await;
        let left = rows(&server);
        server.restart().await;
        left == 1
    })
    .await;
    server.admin().get(&paths[0]).await.expect(204);
}
