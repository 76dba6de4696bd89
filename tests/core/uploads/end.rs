//! Uploads that end with what they were for: those of a deleted repository, and those that a quota let go on without room.
//! Nothing of them counts, lies on the disk or can be gone on with.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use dryport::repo::rows::keys::{self, DueKind};
use dryport::repo::rows::record::RepoRecord;
use dryport::store::Table;
use dryport::store::record::Record as _;

use crate::core::quota::exact::{figure, on_disk, server, set, try_blob, until};
use crate::harness::content::{noise, push_blob, sha256};
use crate::harness::damage::Rows;
use crate::harness::{ADMIN, Client, SOON, Server, basic, run_ok, with_query};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const PIECE: usize = 100_000;

/// Begins an upload; its path.
async fn begin(client: &Client, repo: &str) -> String {
    let start = client.post(&format!("/v2/{repo}/blobs/uploads/")).await;
    start.expect(202).location()
}

/// Begins an upload and sends a piece; its path.
async fn one_piece(client: &Client, repo: &str, seed: u64) -> String {
    let at = begin(client, repo).await;
    let piece = noise(seed, PIECE);
    let sent = client.send("PATCH", &at, &[OCTETS], &piece).await;
    sent.expect(202).location()
}

/// A connection on which the head of a request and some of its body were sent.
fn begun(server: &Server, method: &str, path: &str, length: usize, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let path = &path[path.find("/v2/").unwrap()..];
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-type: {}\r\ncontent-length: {length}\r\n\r\n",
        server.host(),
        basic(ADMIN.0, ADMIN.1),
        OCTETS.1
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server may have said no and closed by then.
    let _ = stream.write_all(body);
    stream
}

/// The first line of the answer.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

fn files(server: &Server) -> usize {
    on_disk(server, &["uploads"]).0
}

/// The rows of uploads; the server must have ended.
fn rows(server: &Server) -> usize {
    Rows::open(&server.data()).all(Table::Uploads).len()
}

#[tokio::test]
async fn the_uploads_of_a_deleted_repository_go_with_it() {
    let mut server = server().await;
    let admin = server.admin();
    set(&server, "team", "1MB");
    push_blob(&admin, "team/app", &noise(1, PIECE)).await;
    push_blob(&admin, "team/stays", &noise(1, PIECE)).await;
    // One of before a restart that nobody took up, one that somebody did; both have rows.
    let left = one_piece(&admin, "team/app", 2).await;
    let taken = one_piece(&admin, "team/app", 3).await;
    server.signal("TERM");
    server.exit_code(SOON).await.unwrap();
    assert_eq!(rows(&server), 2);
    server.restart().await;
    let admin = server.admin();
    let path = |at: &str| at[at.find("/v2/").unwrap()..].to_owned();
    let taken = admin.get(&path(&taken)).await.expect(204).location();
    let now = one_piece(&admin, "team/app", 4).await;
    let other = one_piece(&admin, "team/stays", 5).await;
    assert_eq!(figure(&server, "team", "uploads"), 4 * PIECE as u64);
    // And one that is being written at that moment.
    let busy = begin(&admin, "team/app").await;
    let mut writing = begun(&server, "PATCH", &busy, 3 * PIECE, &noise(6, 2 * PIECE));
    until(&server, "team", "uploads", 7 * PIECE as u64).await;

    run_ok(&["repo", "delete", "--data", &server.dir(), "team/app"]);
    assert_eq!(figure(&server, "team", "uploads"), 4 * PIECE as u64);
    for at in [&left, &taken, &now, &busy] {
        let gone = admin.send("PATCH", &path(at), &[OCTETS], b"more").await;
        gone.refused(404, "BLOB_UPLOAD_UNKNOWN");
        let gone = admin.delete(&path(at)).await;
        gone.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    // The one that is written ends with its next piece, long before its body does.
    let _ = writing.write_all(&noise(7, PIECE / 2));
    until(&server, "team", "uploads", PIECE as u64).await;
    let line = answer(&mut writing);
    assert!(line.contains(" 404 ") || line.is_empty(), "{line}");
    assert_eq!(files(&server), 1);

    // The name, made anew, has nothing of it.
    push_blob(&admin, "team/app", &noise(8, PIECE)).await;
    let gone = admin.send("PATCH", &path(&now), &[OCTETS], b"more").await;
    gone.refused(404, "BLOB_UPLOAD_UNKNOWN");
    let put = with_query(
        &path(&other),
        &format!("digest={}", sha256(&noise(5, PIECE))),
    );
    admin.send("PUT", &put, &[OCTETS], b"").await.expect(201);
    assert_eq!((figure(&server, "team", "uploads"), files(&server)), (0, 0));
    server.kill();
    assert_eq!(rows(&server), 0);
    server.restart().await;
    assert_eq!(figure(&server, "team", "uploads"), 0);
    run_ok(&["check", "--data", &server.dir()]);
}

#[tokio::test]
async fn the_uploads_of_a_repository_that_was_deleted_before_a_kill_go_at_the_next_start() {
    let mut server = server().await;
    let admin = server.admin();
    set(&server, "team", "1MB");
    push_blob(&admin, "team/app", &noise(1, PIECE)).await;
    one_piece(&admin, "team/app", 2).await;
    one_piece(&admin, "team/app", 3).await;
    server.signal("TERM");
    server.exit_code(SOON).await.unwrap();
    // As the deletion's commit leaves it.
    let store = Rows::open(&server.data());
    let id = store.get(Table::Names, &keys::name("team/app")).unwrap();
    let mut record = RepoRecord::from_bytes(&store.get(Table::Repos, &id).unwrap()).unwrap();
    record.deleted = true;
    store.put(Table::Repos, &id, &record.to_bytes().unwrap());
    store.drop_row(Table::Names, &keys::name("team/app"));
    store.put(Table::Due, &keys::due(1, DueKind::Repo, &id), &[]);
    drop(store);
    server.restart().await;
    until(&server, "team", "uploads", 0).await;
    assert_eq!(files(&server), 0);
    server.kill();
    assert_eq!(rows(&server), 0);
}

#[tokio::test]
async fn an_upload_that_a_full_quota_spared_is_nobodys_once_its_request_broke_off() {
    let server = server().await;
    let admin = server.admin();
    set(&server, "team", "1MB");
    let shown = noise(3, 900_000);
    push_blob(&admin, "team/app", &shown).await;
    for round in 0..15 {
        let at = begin(&admin, "team/app").await;
        let put = with_query(&at, &format!("digest={}", sha256(&shown)));
        let stream = begun(&server, "PUT", &put, 900_000, &shown[..700_000]);
        until(&server, "team", "uploads", 900_000).await;
        // Others that want it come in that very moment, and would keep it as long as they send nothing.
        let want = |_| begun(&server, "PATCH", &at, 10, b"");
        let mut held: Vec<TcpStream> = (0..5).map(want).collect();
        stream.shutdown(Shutdown::Both).unwrap();
        held.extend((0..30).map(want));
        until(&server, "team", "uploads", 0).await;
        assert_eq!(files(&server), 0, "of round {round}");
        drop(held);
    }
    // A second request that is refused because the first one is at it ends nothing.
    let at = begin(&admin, "team/app").await;
    let put = with_query(&at, &format!("digest={}", sha256(&shown)));
    let mut stream = begun(&server, "PUT", &put, 900_000, &shown[..700_000]);
    until(&server, "team", "uploads", 900_000).await;
    let second = admin.send("PUT", &put, &[OCTETS], b"x").await;
    second.refused(409, "BLOB_UPLOAD_INVALID");
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write_all(&shown[700_000..]).unwrap();
    let line = answer(&mut stream);
    assert!(line.contains(" 201 "), "{line}");
    try_blob(&admin, "team/app", &shown).await.expect(201);
}
