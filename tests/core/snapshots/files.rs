//! Snapshots of file repositories: read under `/r/NAME@TITLE/PATH`, compared, restored, freed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::core::snapshots::images::{clean, gc, root, server, snapshot, told};
use crate::harness::clock::pass;
use crate::harness::content::noise;
use crate::harness::{Client, Server, run_ok};

const HOUR: Duration = Duration::from_secs(3_601);

async fn put(client: &Client, path: &str, bytes: &[u8]) {
    let octets = [("content-type", "application/octet-stream")];
    let path = format!("/r/files/{path}");
    let put = client.send("PUT", &path, &octets, bytes).await;
    assert!(put.status == 200 || put.status == 201, "{}", put.text());
}

async fn get(client: &Client, path: &str) -> Vec<u8> {
    client
        .get(&format!("/r/{path}"))
        .await
        .expect(200)
        .body
        .clone()
}

async fn names(client: &Client, folder: &str) -> Vec<String> {
    let json = [("accept", "application/json")];
    let list = client
        .send("GET", &format!("/r/{folder}"), &json, b"")
        .await;
    let list: Value = list.expect(200).json();
    let list = list["entries"].as_array().unwrap().iter();
    list.map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

/// What the snapshot shows, whatever became of the repository.
async fn shows(server: &Server) {
    let client = server.admin();
    for _ in 0..2 {
        assert_eq!(get(&client, "files@june/a").await, noise(1, 100));
        assert_eq!(get(&client, "files@june/d/large").await, noise(2, 100_000));
        assert_eq!(get(&client, "files@june/d/same").await, noise(3, 50));
    }
    assert_eq!(names(&client, "files@june/").await, ["a", "d/"]);
    assert_eq!(names(&client, "files@june/d/").await, ["large", "same"]);
    client.get("/r/files@june/new").await.expect(404);
    client.get("/r/files@july/a").await.expect(404);
}

#[tokio::test]
async fn files_of_a_snapshot_stay_and_come_back() {
    let mut server = server("1h", "1h").await;
    let dir = server.dir();
    run_ok(&["repo", "create", "files", "--kind", "file", "--data", &dir]);
    let admin = server.admin();
    put(&admin, "a", &noise(1, 100)).await;
    put(&admin, "d/large", &noise(2, 100_000)).await;
    put(&admin, "d/same", &noise(3, 50)).await;
    told(&server, &["create", "files", "--as", "june"]);
    let whole = root(&server, "files@june");
    shows(&server).await;

    put(&admin, "a", &noise(4, 70)).await;
    put(&admin, "new", &noise(5, 60)).await;
    admin.delete("/r/files/d/large").await.expect(204);
    let diff = told(&server, &["diff", "files@june", "files"]);
    let expected = json!({
        "added": [{"name": "new", "bytes": 60}],
        "removed": [{"name": "d/large", "bytes": 100_000}],
        "changed": [{"name": "a", "bytes": 70}],
    });
    assert_eq!(diff, expected);
    for _ in 0..3 {
        pass(&mut server, HOUR).await;
        gc(&server, &["--purge-history"]);
        shows(&server).await;
        clean(&server);
    }
    // Nobody writes to it.
    let admin = server.admin();
    let write = admin.send("PUT", "/r/files@june/a", &[], b"x").await;
    assert!((400..500).contains(&write.status), "{}", write.text());

    // A file lies where a folder was: it goes before what was there comes back.
    admin.delete("/r/files/d/same").await.expect(204);
    put(&admin, "d", &noise(6, 10)).await;
    let done = told(&server, &["restore", "files@june"]);
    assert_eq!(
        (&done["restored"], &done["removed"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(get(&admin, "files/d/large").await, noise(2, 100_000));
    assert_eq!(names(&admin, "files/").await, ["a", "d/"]);
    told(&server, &["create", "files", "--as", "again"]);
    assert_eq!(root(&server, "files@again"), whole);
    clean(&server);

    for path in ["a", "d/large", "d/same"] {
        admin.delete(&format!("/r/files/{path}")).await.expect(204);
    }
    for title in ["june", "again"] {
        snapshot(&server, &["delete", &format!("files@{title}")]);
        let gone = format!("/r/files@{title}/a");
        admin.get(&gone).await.expect(404);
    }
    let mut freed = 0;
    for _ in 0..3 {
        pass(&mut server, HOUR).await;
        let report = gc(&server, &["--purge-history"]);
        freed += report["freed_blobs"].as_u64().unwrap();
    }
    assert_eq!(freed, 6, "all that ever came");
    clean(&server);
}
