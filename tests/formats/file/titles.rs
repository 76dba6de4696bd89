//! Snapshots of file repositories, read by their titles.

use serde_json::Value;

use crate::formats::file::reading::{put, server};
use crate::harness::{Server, run_ok};

fn snapshot(server: &Server, args: &[&str]) -> String {
    let dir = server.dir();
    run_ok(&[&["snapshot"], args, &["--data", &dir]].concat())
}

#[tokio::test]
async fn a_title_is_what_it_was_given_to() {
    let server = server().await;
    let admin = server.admin();
    put(&admin, "/r/files/a", b"one").await.expect(201);
    put(&admin, "/r/files/d/b", b"b").await.expect(201);
    admin.get("/r/files@june/a").await.expect(404);
    snapshot(&server, &["create", "files", "--as", "june"]);
    put(&admin, "/r/files/a", b"two").await.expect(200);
    admin.delete("/r/files/d/b").await.expect(204);
    for _ in 0..2 {
        let reply = admin.get("/r/files@june/a").await.expect(200);
        assert_eq!(reply.text(), "one");
        assert_eq!(reply.header("cache-control"), "public, max-age=300");
    }
    assert_eq!(admin.get("/r/files@june/d/b").await.expect(200).text(), "b");
    let json = [("accept", "application/json")];
    let list = admin
        .send("GET", "/r/files@june/", &json, b"")
        .await
        .expect(200);
    let list: Value = list.json();
    assert_eq!(list["entries"][0]["name"], "a");
    assert_eq!(list["entries"][1]["name"], "d/");
    let page = admin.get("/r/files@june/d/").await.expect(200).text();
    assert!(page.contains("files@june/d/"), "{page}");
    put(&admin, "/r/files@june/a", b"three").await.expect(405);
    let diff = snapshot(&server, &["diff", "files@june", "files", "--json"]);
    let diff: Value = serde_json::from_str(&diff).unwrap();
    assert_eq!(diff["changed"][0]["name"], "a", "{diff}");
    assert_eq!(diff["removed"][0]["name"], "d/b", "{diff}");
    // The history goes, and what the snapshot keeps stays.
    run_ok(&["gc", "--purge-history", "--data", &server.dir()]);
    assert_eq!(admin.get("/r/files@june/a").await.expect(200).text(), "one");
    snapshot(&server, &["delete", "files@june"]);
    admin.get("/r/files@june/a").await.expect(404);
    admin.get("/r/files@june/").await.expect(404);
    // Given again, it means the new one.
    snapshot(&server, &["create", "files", "--as", "june"]);
    assert_eq!(admin.get("/r/files@june/a").await.expect(200).text(), "two");
    run_ok(&["check", "--deep", "--data", &server.dir()]);
}
