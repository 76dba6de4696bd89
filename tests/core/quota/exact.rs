//! Quotas: exact at the commit, each digest once below a prefix, refused early where the length is known.

use dryport::store::{Lane, Need, Table};
use serde_json::{Value, json};

use crate::core::past::closed_store;
use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, push_image, sha256,
};
use crate::harness::{Client, Reply, SOON, Server, init, run, run_ok, text_of, with_query};

pub async fn server() -> Server {
    server_keeping("0s").await
}

/// A server that sweeps when it is told to, with leases of a second.
pub async fn server_keeping(history: &str) -> Server {
    server_with(history, "1s").await
}

/// The same with leases of another length.
pub async fn server_with(history: &str, lease: &str) -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_BLOBS__LEASE", lease),
        ("DRYPORT_HISTORY__KEEP", history),
    ];
    Server::serve(home, &[], &env).await
}

/// One figure of a quota.
pub fn figure(server: &Server, prefix: &str, what: &str) -> u64 {
    let all = run_ok(&["quota", "list", "--data", &server.dir(), "--json"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let one = all
        .as_array()
        .unwrap()
        .iter()
        .find(|q| q["prefix"] == prefix);
    one.unwrap_or_else(|| panic!("{prefix} in {all}"))[what]
        .as_u64()
        .unwrap_or_else(|| panic!("{what} in {all}"))
}

fn used(server: &Server, prefix: &str) -> u64 {
    figure(server, prefix, "used")
}

/// Waits until a figure is as it should be.
pub async fn until(server: &Server, prefix: &str, what: &str, is: u64) {
    let text = format!("{what} is {is}");
    crate::harness::until(&text, SOON, async || figure(server, prefix, what) == is).await;
}

pub fn set(server: &Server, prefix: &str, size: &str) {
    run_ok(&["quota", "set", "--data", &server.dir(), prefix, size]);
}

pub async fn try_blob(client: &Client, repo: &str, bytes: &[u8]) -> Reply {
    let start = client
        .post(&format!("/v2/{repo}/blobs/uploads/"))
        .await
        .expect(202);
    let put = with_query(&start.location(), &format!("digest={}", sha256(bytes)));
    client
        .send(
            "PUT",
            &put,
            &[("content-type", "application/octet-stream")],
            bytes,
        )
        .await
}

/// Content files and uploads on disk.
pub fn files(server: &Server) -> usize {
    on_disk(server, &["blobs", "uploads"]).0
}

/// Files in these folders of the data directory, and their bytes.
pub fn on_disk(server: &Server, folders: &[&str]) -> (usize, u64) {
    let mut open: Vec<_> = folders.iter().map(|f| server.data().join(f)).collect();
    let (mut found, mut bytes) = (0, 0);
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found += 1;
                // It may be gone by now.
                bytes += entry.metadata().map_or(0, |meta| meta.len());
            }
        }
    }
    (found, bytes)
}

#[tokio::test]
async fn a_quota_is_exact_and_says_what_is_free() {
    let server = server().await;
    let admin = server.admin();
    set(&server, "team", "300000");
    push_blob(&admin, "team/a", &noise(1, 200_000)).await;
    assert_eq!(used(&server, "team"), 200_000);
    // Not below the prefix, though it looks alike.
    push_blob(&admin, "teammate", &noise(2, 200_000)).await;
    let reply = try_blob(&admin, "team/b", &noise(3, 100_001))
        .await
        .refused(403, "DENIED");
    assert!(
        reply
            .text()
            .contains("100001 bytes more are needed and 100000 are free"),
        "{}",
        reply.text()
    );
    assert_eq!(files(&server), 2);
    // The same digest counts once, wherever below the prefix; exactly full is not over.
    push_blob(&admin, "team/b", &noise(1, 200_000)).await;
    push_blob(&admin, "team/b", &noise(4, 100_000)).await;
    assert_eq!(used(&server, "team"), 300_000);
    let from = "/v2/team/c/blobs/uploads/?mount=";
    let mount = |d: String, from_repo: &str| format!("{from}{d}&from={from_repo}");
    admin
        .post(&mount(sha256(&noise(4, 100_000)), "team/b"))
        .await
        .expect(201);
    admin
        .post(&mount(sha256(&noise(2, 200_000)), "teammate"))
        .await
        .refused(403, "DENIED");
    let manifest = bytes_of(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST}));
    let put = |repo: &str| format!("/v2/{repo}/manifests/v1");
    let headers = [("content-type", OCI_MANIFEST)];
    admin.send("PUT", &put("team/a"), &headers, &manifest).await;
    let image = bytes_of(&image(&noise(1, 200_000), &[&noise(4, 100_000)]));
    admin
        .send("PUT", &put("team/b"), &headers, &image)
        .await
        .refused(403, "DENIED");
    set(&server, "team", "400KB");
    admin
        .send("PUT", &put("team/b"), &headers, &image)
        .await
        .expect(201);
    assert_eq!(used(&server, "team"), 300_000 + image.len() as u64);
    admin
        .delete(&format!("/v2/team/b/manifests/{}", sha256(&image)))
        .await
        .expect(202);
    assert_eq!(used(&server, "team"), 300_000);
}

#[tokio::test]
async fn what_is_known_to_be_too_long_is_refused_before_it_comes() {
    let server = server().await;
    let admin = server.admin();
    // A push that comes to nothing, by which the server has seen that there is no quota.
    let start = admin.post("/v2/a/blobs/uploads/").await.expect(202);
    let put = with_query(&start.location(), &format!("digest={}", sha256(b"other")));
    let octets = [("content-type", "application/octet-stream")];
    let reply = admin.send("PUT", &put, &octets, b"few bytes").await;
    reply.refused(400, "DIGEST_INVALID");
    set(&server, "/", "1MiB");
    let at = admin
        .post("/v2/a/blobs/uploads/")
        .await
        .expect(202)
        .location();
    let head = format!(
        "PATCH {at} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y2k6czNjcmV0LW9mLWNp\r\nContent-Type: \
         application/octet-stream\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    let answer = server.raw(head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.contains("the quota on this registry is used up"),
        "{answer}"
    );
    // A chunked body of unknown length is refused at the end, exactly.
    try_blob(&admin, "a", &noise(5, 1_048_577))
        .await
        .refused(403, "DENIED");
    try_blob(&admin, "a", &noise(6, 1_048_576))
        .await
        .expect(201);
    assert_eq!(files(&server), 1);
}

#[tokio::test]
async fn a_quota_counts_what_was_there_and_what_goes() {
    let mut server = server().await;
    let admin = server.admin();
    let mut sizes = 0;
    for (repo, seed) in [("team/a", 1), ("team/b", 1), ("team/b", 2), ("other", 3)] {
        let manifest = push_image(&admin, repo, &format!("v{seed}"), seed).await;
        let layer_and_config =
            2000 + format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"seed\":{seed}}}").len();
        if repo == "team/b" {
            sizes += manifest.len() + layer_and_config;
        }
    }
    set(&server, "team", "1GiB");
    assert_eq!(used(&server, "team"), sizes as u64);
    // Kept exact by every change after that, also over a kill.
    push_image(&admin, "team/a", "v3", 3).await;
    let third = used(&server, "team") - sizes as u64;
    server.kill();
    server.restart().await;
    let admin = server.admin();
    push_image(&admin, "team/c", "v3", 3).await;
    assert_eq!(used(&server, "team"), sizes as u64 + third);
    for repo in ["team/a", "team/b", "team/c"] {
        run_ok(&["repo", "delete", "--data", &server.dir(), repo]);
    }
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        run_ok(&["gc", "--data", &server.dir()]);
    }
    assert_eq!(used(&server, "team"), 0);
    run_ok(&["quota", "remove", "--data", &server.dir(), "team"]);
    let again = run(&["quota", "remove", "--data", &server.dir(), "team"]);
    assert_eq!(again.status.code(), Some(3), "{}", text_of(&again));
}

#[tokio::test]
async fn a_quota_after_one_whose_removal_broke_off_counts_from_nothing() {
    // What is pushed outlives the sweep, however slow the machine is.
    let mut server = server_with("0s", "1h").await;
    let (gone, stays) = (noise(1, 3_000), noise(2, 2_000));
    for bytes in [&gone, &stays] {
        push_blob(&server.admin(), "team/app", bytes).await;
    }
    set(&server, "team", "1MiB");
    assert_eq!(used(&server, "team"), 5_000);
    // A kill between the first transaction of the removal and the second.
    let store = closed_store(&mut server);
    let end = store.write_blocking(Lane::Background, Need::Keeps, "end", |tx| {
        tx.delete(Table::Quotas, b"team\0")
    });
    end.unwrap();
    store.close();
    server.restart().await;
    let admin = server.admin();
    let path = format!("/v2/team/app/blobs/{}", sha256(&gone));
    admin.delete(&path).await.expect(202);
    run_ok(&["gc", "--data", &server.dir()]);
    set(&server, "team", "4000B");
    assert_eq!(used(&server, "team"), 2_000);
    // What is new below the quota is not taken for what the one before counted.
    let refused = try_blob(&admin, "team/app", &gone).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    set(&server, "team", "1MiB");
    push_blob(&admin, "team/app", &gone).await;
    assert_eq!(used(&server, "team"), 5_000);
    run_ok(&["check", "--data", &server.dir()]);
}
