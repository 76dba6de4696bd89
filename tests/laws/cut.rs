//! A push that is cut leaves nothing: its name means what it meant, and of its bytes nothing stays once their time is over.

use super::kinds::{Files, Images, Kind, Request};
use crate::core::quota::exact::on_disk;
use crate::harness::broken::begun;
use crate::harness::clock::pass;
use crate::harness::damage::check;
use crate::harness::{Client, Server, run_ok};
use std::time::Duration;

/// Longer than anything of a push that was not ended is kept.
const LONG: Duration = Duration::from_hours(72);

/// Sends a request but for the rest of its body.
fn cut(server: &Server, request: &Request, sent: usize) {
    let Request {
        method,
        path,
        media_type,
        body,
    } = request;
    drop(begun(server, method, path, media_type, body, sent));
}

/// Puts a name with this number, once for each of its requests and some lengths at which that is cut.
async fn cut_each<K: Kind>(kind: &K, server: &Server, name: &str, number: u64) {
    let count = kind.requests(name, number).len();
    for last in 0..count {
        for part in 0..4 {
            let requests = kind.requests(name, number);
            for whole in &requests[..last] {
                let media_type = [("content-type", whole.media_type)];
                let admin = server.admin();
                let done = admin.send(whole.method, &whole.path, &media_type, &whole.body);
                done.await.expect(201);
            }
            let len = requests[last].body.len();
            cut(server, &requests[last], (len * part / 3).min(len - 1));
        }
    }
}

async fn means<K: Kind>(kind: &K, client: &Client, name: &str, number: Option<u64>) {
    let got = client.get(&kind.path(name, None)).await;
    match number {
        None => assert_eq!(got.status, 404, "{name}: {}", got.text()),
        Some(number) => {
            assert!(got.expect(200).body == kind.bytes(number), "{name}");
            assert!(kind.is_whole(client, number, None).await, "{name}");
        }
    }
}

async fn leaves_nothing<K: Kind>(kind: K) {
    let mut server = Server::start().await;
    kind.make(&server);
    let folders = ["blobs", "uploads"];
    // Their bytes are different ones; some lie in the database, some in files.
    for number in [1, 2, 3] {
        cut_each(&kind, &server, "new", number).await;
    }
    means(&kind, &server.anonymous(), "new", None).await;
    pass(&mut server, LONG).await;
    run_ok(&["gc", "--purge-history", "--data", &server.dir()]);
    means(&kind, &server.anonymous(), "new", None).await;
    assert_eq!(on_disk(&server, &folders), (0, 0));

    assert!(kind.put(&server.admin(), "old", 7).await);
    let before = on_disk(&server, &folders);
    cut_each(&kind, &server, "old", 2).await;
    means(&kind, &server.anonymous(), "old", Some(7)).await;
    pass(&mut server, LONG).await;
    run_ok(&["gc", "--purge-history", "--data", &server.dir()]);
    means(&kind, &server.anonymous(), "old", Some(7)).await;
    assert_eq!(on_disk(&server, &folders), before);
    let (code, report) = check(&server.data(), &["--deep"]);
    assert_eq!(code, 0, "{report:#}");
}

#[tokio::test]
async fn a_cut_push_of_an_image_leaves_nothing() {
    leaves_nothing(Images).await;
}

#[tokio::test]
async fn a_cut_upload_of_a_file_leaves_nothing() {
    leaves_nothing(Files).await;
}
