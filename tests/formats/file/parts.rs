//! Files that come in parts (`PUT` with `Content-Range`): each follows the one before, also after a crash, and the last one
//! makes the file.

use crate::formats::file::reading::{put, put_with, repr, server};
use crate::harness::content::{noise, sha256, sha512};
use crate::harness::{Client, Reply, Server};

const PATH: &str = "/r/files/iso";

async fn part(client: &Client, bytes: &[u8], from: usize, to: usize, total: &str) -> Reply {
    let range = format!("bytes {from}-{}/{total}", to - 1);
    put_with(client, PATH, &[("content-range", &range)], &bytes[from..to]).await
}

async fn asked(client: &Client, total: usize) -> String {
    let range = format!("bytes */{total}");
    let reply = put_with(client, PATH, &[("content-range", &range)], b"").await;
    reply.expect(202).header("range").to_owned()
}

#[tokio::test]
async fn parts_become_a_file() {
    let server = server().await;
    let admin = server.admin();
    let bytes = noise(1, 400_000);
    let total = bytes.len().to_string();
    assert_eq!(asked(&admin, bytes.len()).await, "");
    // Nothing has come, so there is nothing to go on from.
    let reply = part(&admin, &bytes, 5, 10, &total).await.expect(416);
    assert_eq!(reply.header("range"), "");
    let first = part(&admin, &bytes, 0, 100_000, &total).await.expect(202);
    assert_eq!(first.header("range"), "bytes=0-99999");
    admin.get(PATH).await.expect(404);
    assert_eq!(asked(&admin, bytes.len()).await, "bytes=0-99999");
    // Another length is not known yet.
    let second = part(&admin, &bytes, 100_000, 250_001, "*").await;
    assert_eq!(second.expect(202).header("range"), "bytes=0-250000");
    for wrong in [1, 100_000, 250_002] {
        let reply = part(&admin, &bytes, wrong, 300_000, &total).await;
        assert_eq!(reply.expect(416).header("range"), "bytes=0-250000");
    }
    let last = part(&admin, &bytes, 250_001, 400_000, &total).await;
    let last = last.expect(201);
    assert_eq!(last.header("etag"), format!("\"{}\"", sha256(&bytes)));
    assert!(admin.get(PATH).await.expect(200).body == bytes);
    assert_eq!(asked(&admin, bytes.len()).await, "");
    // In one part, in place of it.
    let other = noise(2, 1000);
    part(&admin, &other, 0, 1000, "1000").await.expect(200);
    assert!(admin.get(PATH).await.expect(200).body == other);
}

#[tokio::test]
async fn a_part_from_the_start_begins_anew() {
    let server = server().await;
    let admin = server.admin();
    let (one, two) = (noise(1, 200_000), noise(2, 200_000));
    part(&admin, &one, 0, 150_000, "200000").await.expect(202);
    part(&admin, &two, 0, 100_000, "200000").await.expect(202);
    part(&admin, &two, 100_000, 200_000, "200000")
        .await
        .expect(201);
    assert!(admin.get(PATH).await.expect(200).body == two);
    // A whole file meanwhile does not disturb parts, nor they it.
    part(&admin, &one, 0, 100_000, "200000").await.expect(202);
    put(&admin, PATH, b"whole").await.expect(200);
    part(&admin, &one, 100_000, 200_000, "200000")
        .await
        .expect(200);
    assert!(admin.get(PATH).await.expect(200).body == one);
}

#[tokio::test]
async fn parts_are_checked_as_whole_files_are() {
    let server = server().await;
    let admin = server.admin();
    let bytes = noise(1, 100_000);
    let with = async |from: usize, to: usize, name: &str, value: &str| {
        let range = format!("bytes {from}-{}/100000", to - 1);
        let headers = [("content-range", &*range), (name, value)];
        put_with(&admin, PATH, &headers, &bytes[from..to]).await
    };
    let (good, bad) = (repr(&sha256(&bytes)), repr(&sha256(b"x")));
    with(0, 100_000, "repr-digest", &bad).await.expect(400);
    admin.get(PATH).await.expect(404);
    with(0, 50_000, "repr-digest", &good).await.expect(202);
    with(50_000, 100_000, "repr-digest", &good)
        .await
        .expect(201);
    let sha512 = repr(&sha512(&bytes));
    with(0, 50_000, "repr-digest", &sha512).await.expect(400);
    with(0, 50_000, "if-none-match", "*").await.expect(412);
    for range in [
        "0-9/10",
        "bytes 0-9",
        "bytes 0-10/10",
        "bytes 9-0/10",
        "bytes 0-8/10",
    ] {
        let reply = put_with(&admin, PATH, &[("content-range", range)], &bytes[..10]).await;
        reply.expect(400);
    }
    let question = [("content-range", "bytes */10")];
    put_with(&admin, PATH, &question, b"x").await.expect(400);
    assert!(admin.get(PATH).await.expect(200).body == bytes);
}

#[tokio::test]
async fn whoever_asks_when_all_has_come_gets_the_file() {
    let server = server().await;
    let admin = server.admin();
    let bytes = noise(1, 100_000);
    part(&admin, &bytes, 0, 60_000, "*").await.expect(202);
    part(&admin, &bytes, 60_000, 100_000, "*").await.expect(202);
    assert_eq!(asked(&admin, 200_000).await, "bytes=0-99999");
    admin.get(PATH).await.expect(404);
    let question = [("content-range", "bytes */100000")];
    let made = put_with(&admin, PATH, &question, b"").await.expect(201);
    assert_eq!(made.header("etag"), format!("\"{}\"", sha256(&bytes)));
    assert!(admin.get(PATH).await.expect(200).body == bytes);
    assert_eq!(asked(&admin, 100_000).await, "");
}

#[tokio::test]
async fn parts_of_others_are_not_mixed_with_mine() {
    let server = server().await;
    server.add_user(
        "ann",
        "ann-s3cret-x",
        &["--role", "writer", "--on", "files"],
    );
    let (admin, ann) = (server.admin(), server.client(Some(("ann", "ann-s3cret-x"))));
    let (mine, hers) = (noise(1, 100_000), noise(2, 100_000));
    part(&admin, &mine, 0, 60_000, "100000").await.expect(202);
    assert_eq!(asked(&ann, 100_000).await, "");
    part(&ann, &hers, 0, 50_000, "100000").await.expect(202);
    part(&ann, &hers, 50_000, 100_000, "100000")
        .await
        .expect(201);
    assert!(admin.get(PATH).await.expect(200).body == hers);
    part(&admin, &mine, 60_000, 100_000, "100000")
        .await
        .expect(200);
    assert!(admin.get(PATH).await.expect(200).body == mine);
}

#[tokio::test]
async fn what_was_acknowledged_of_parts_survives_a_kill() {
    let mut server = server().await;
    let admin = server.admin();
    let bytes = noise(1, 900_000);
    part(&admin, &bytes, 0, 300_000, "900000").await.expect(202);
    part(&admin, &bytes, 300_000, 500_000, "900000")
        .await
        .expect(202);
    server.kill();
    server.restart().await;
    assert_eq!(asked(&admin, 900_000).await, "bytes=0-499999");
    part(&admin, &bytes, 500_000, 700_000, "900000")
        .await
        .expect(202);
    server.kill();
    server.restart().await;
    let digest = repr(&sha256(&bytes));
    let headers = [
        ("content-range", "bytes 700000-899999/900000"),
        ("repr-digest", &*digest),
    ];
    let last = put_with(&admin, PATH, &headers, &bytes[700_000..]).await;
    last.expect(201);
    server.kill();
    server.restart().await;
    assert!(admin.get(PATH).await.expect(200).body == bytes);
}

/// Sends the head of a whole PUT and a piece of its body, and goes away.
fn break_off(server: &Server, path: &str) {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.http)).unwrap();
    let auth = crate::harness::basic(crate::harness::ADMIN.0, crate::harness::ADMIN.1);
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: {auth}\r\ncontent-length: 500000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&noise(1, 300_000)).unwrap();
}

#[tokio::test]
async fn a_whole_file_that_is_broken_off_leaves_nothing() {
    let server = server().await;
    let admin = server.admin();
    put(&admin, "/r/files/a", b"before").await.expect(201);
    break_off(&server, "/r/files/a");
    let uploads = server.data().join("uploads");
    let left = || {
        let entries = std::fs::read_dir(&uploads).map(Iterator::count);
        entries.unwrap_or(0)
    };
    crate::harness::until("no upload is left", crate::harness::SOON, async || {
        left() == 0
    })
    .await;
    assert_eq!(admin.get("/r/files/a").await.text(), "before");
}
