//! Many requests on few connections (HTTP/2): what they may hold while they wait is bounded, and others are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::harness::content::{noise, push_blob};
use crate::harness::{SOON, Server, init, until};
use crate::http::abuse::peak;

/// A client that has room for little that it does not take.
fn narrow() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(65_535)
        .http2_initial_connection_window_size(65_535)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_a_file_are_few_and_cheap() {
    const CONNECTIONS: usize = 13;
    const EACH: usize = 240;
    // See `http/files`: so many wait at once, and each has room for 6 KiB; answers hold 28 MiB at most.
    const WAITING: usize = 2048;
    const ROOM: u64 = 28 + 12 + 12;
    // 26 files are shared.
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let server = Server::serve_under(&["prlimit", "--nofile=300"], home, &[], &[]).await;
    let admin = server.admin();
    let blob = push_blob(&admin, "a", &noise(1, 1 << 20)).await;
    let url = format!("https://127.0.0.1:{}/v2/a/blobs/{blob}", server.https);
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| narrow()).collect();
    for client in &clients {
        // One connection each, on which all the others are asked.
        let ping = format!("https://127.0.0.1:{}/livez", server.https);
        assert_eq!(client.get(ping).send().await.unwrap().status(), 200);
    }
    let before = peak(&server);
    let mut held = JoinSet::new();
    let refused = Arc::new(AtomicUsize::new(0));
    for client in clients.iter().cycle().take(CONNECTIONS * EACH) {
        let request = client.get(&url);
        let refused = Arc::clone(&refused);
        held.spawn(async move {
            let answer = request.send().await.unwrap();
            if answer.status() == 429 {
                refused.fetch_add(1, Ordering::Relaxed);
            }
            answer
        });
    }
    let most = WAITING + CONNECTIONS + 40;
    until("the others are refused", SOON, async || {
        refused.load(Ordering::Relaxed) >= CONNECTIONS * EACH - most
    })
    .await;
    let after = peak(&server);
    eprintln!("{before} -> {after} MiB");
    assert!(after < before + ROOM, "{before} -> {after} MiB");
    // A connection has a file of its own.
    let reply = server.admin().get(&format!("/v2/a/blobs/{blob}")).await;
    assert_eq!(reply.expect(200).body.len(), 1 << 20);
    held.abort_all();
}
