//! What a quota's history keeps has a bound of its own: pushing and removing does not fill the disk.

use std::time::Duration;

use dryport::repo::rows::record::QuotaRecord;
use dryport::store::Table;
use dryport::store::record::{Decode, Encode, Record};
use serde_json::json;

use crate::core::quota::exact::{
    figure, files, on_disk, server_keeping, server_with, set, try_blob,
};
use crate::harness::clock::pass;
use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, bytes_of, descriptor, image, noise, push_blob, push_image,
    put_manifest, sha256,
};
use crate::harness::damage::Rows;
use crate::harness::{Client, Server, run, run_ok, text_of};

const LAYER: usize = 100_000;

fn quota(server: &Server, size: &str, history: &str) {
    let dir = server.dir();
    run_ok(&[
        "quota",
        "set",
        "--data",
        &dir,
        "team",
        size,
        "--history",
        history,
    ]);
}

async fn remove(client: &Client, repo: &str, manifest: &[u8], layer: &[u8]) {
    let manifest = format!("/v2/{repo}/manifests/{}", sha256(manifest));
    client.delete(&manifest).await.expect(202);
    let layer = format!("/v2/{repo}/blobs/{}", sha256(layer));
    client.delete(&layer).await.expect(202);
}

async fn push(client: &Client, repo: &str, tag: &str, layer: &[u8]) -> Vec<u8> {
    push_blob(client, repo, b"{}").await;
    push_blob(client, repo, layer).await;
    let manifest = bytes_of(&image(b"{}", &[layer]));
    put_manifest(client, repo, tag, OCI_MANIFEST, &manifest).await;
    manifest
}

fn check(server: &Server) {
    run_ok(&["check", "--data", &server.dir()]);
}

#[tokio::test]
async fn pushing_and_removing_keeps_the_newest_within_the_bound() {
    let server = server_keeping("30d").await;
    let (admin, dir) = (server.admin(), server.dir());
    set(&server, "team", "350KB");
    for n in 0..12_u64 {
        let layer = noise(n, LAYER);
        let repo = ["team/a", "team/b"][n as usize % 2];
        let manifest = push(&admin, repo, &format!("v{n}"), &layer).await;
        remove(&admin, repo, &manifest, &layer).await;
        // Freed before the answer: nobody waits for a sweep.
        let (_, bytes) = on_disk(&server, &["blobs", "uploads"]);
        assert!(bytes <= 350_000, "{bytes} after {n}");
        let history = figure(&server, "team", "history");
        assert!(history <= 350_000, "{history} after {n}");
    }
    assert_eq!(files(&server), 3, "the last three layers");
    run_ok(&["gc", "--data", &dir]);
    assert_eq!(files(&server), 3);
    check(&server);
    // Of each repository the first revision was its first push.
    for (repo, tag, back) in [
        ("team/b", "v11", true),
        ("team/b", "v1", false),
        ("team/a", "v0", false),
    ] {
        let rev = if back {
            made_by(&dir, &format!("{repo}:{tag}"))
        } else {
            1
        };
        let what = format!("{repo}:{tag}");
        let restore = run(&[
            "tag",
            "restore",
            "--data",
            &dir,
            &what,
            "--rev",
            &rev.to_string(),
        ]);
        let code = restore.status.code();
        assert_eq!(
            code,
            Some(if back { 0 } else { 3 }),
            "{what}: {}",
            text_of(&restore)
        );
    }
    let got = admin.get("/v2/team/b/manifests/v11").await.expect(200);
    assert_eq!(got.body, bytes_of(&image(b"{}", &[&noise(11, LAYER)])));
    assert_eq!(figure(&server, "team", "history") / LAYER as u64, 2);
    check(&server);
}

#[tokio::test]
async fn many_who_push_and_remove_at_once_are_never_refused_and_stay_within_it() {
    let server = server_keeping("30d").await;
    let admin = server.admin();
    quota(&server, "700KB", "250KB");
    let one = |client: u64| {
        let (admin, server) = (&admin, &server);
        async move {
            let repo = format!("team/{}", client % 3);
            for round in 0..5 {
                let n = 10 * client + round;
                let layer = noise(n, LAYER);
                let manifest = push(admin, &repo, &format!("v{n}"), &layer).await;
                let (_, bytes) = on_disk(server, &["blobs", "uploads"]);
                // A commit leaves a moment's second name of a file.
                assert!(bytes <= 950_000 + 6 * LAYER as u64, "{bytes}");
                remove(admin, &repo, &manifest, &layer).await;
            }
        }
    };
    futures_util::future::join_all((0..6).map(one)).await;
    assert!(figure(&server, "team", "history") <= 250_000);
    assert_eq!(figure(&server, "team", "used"), 2);
    assert_eq!(figure(&server, "team", "uploads"), 0);
    let (files, bytes) = on_disk(&server, &["blobs", "uploads"]);
    assert!(bytes <= 250_000, "{bytes} in {files} files");
    check(&server);
}

#[tokio::test]
async fn removed_blobs_that_nothing_keeps_are_freed_at_once() {
    let server = server_keeping("30d").await;
    let admin = server.admin();
    set(&server, "team", "250KB");
    for n in 0..10 {
        let digest = push_blob(&admin, "team/a", &noise(n, 2 * LAYER)).await;
        admin
            .delete(&format!("/v2/team/a/blobs/{digest}"))
            .await
            .expect(202);
        assert_eq!(files(&server), 0, "after {n}");
    }
    assert_eq!(
        figure(&server, "team", "used") + figure(&server, "team", "history"),
        0
    );
}

#[tokio::test]
async fn a_history_that_cannot_go_refuses_pushes_and_says_who_keeps_it() {
    let server = server_keeping("30d").await;
    let admin = server.admin();
    quota(&server, "1MB", "100");
    let child = push_image(&admin, "team/app", "child", 1).await;
    let index = bytes_of(&json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, &child)],
    }));
    put_manifest(&admin, "team/app", "v1", OCI_INDEX, &index).await;
    let path = |bytes: &[u8]| format!("/v2/team/app/manifests/{}", sha256(bytes));
    // The index keeps its bytes; removing is never refused.
    admin.delete(&path(&child)).await.expect(202);
    assert_eq!(figure(&server, "team", "history"), child.len() as u64);
    let refused = try_blob(&admin, "team/other", b"new bytes").await;
    let text = refused.refused(403, "DENIED").text();
    // Who may push here may not see the others.
    let says = |whose: &str| format!("{} bytes by {whose}", child.len());
    assert!(
        text.contains(&says("other repositories")) && text.contains("at most 100"),
        "{text}"
    );
    let refused = try_blob(&admin, "team/app", b"new bytes").await;
    let text = refused.refused(403, "DENIED").text();
    assert!(text.contains(&says("team/app")), "{text}");
    let config = br#"{"architecture":"amd64","os":"linux","seed":1}"#;
    let manifest = bytes_of(&image(config, &[]));
    let put = admin.send(
        "PUT",
        "/v2/team/app/manifests/v2",
        &[("content-type", OCI_MANIFEST)],
        &manifest,
    );
    put.await.refused(403, "DENIED");
    // What is shown already, and what comes back from the history, needs no room in it.
    push_blob(&admin, "team/other", &noise(1, 2000)).await;
    put_manifest(&admin, "team/app", "child", OCI_MANIFEST, &child).await;
    assert_eq!(figure(&server, "team", "history"), 0);
    try_blob(&admin, "team/other", b"new bytes")
        .await
        .expect(201);
    admin.delete(&path(&child)).await.expect(202);
    try_blob(&admin, "team/other", b"newer bytes")
        .await
        .refused(403, "DENIED");
    // Without the index it is history like any other, and goes.
    admin.delete(&path(&index)).await.expect(202);
    try_blob(&admin, "team/other", b"newer bytes")
        .await
        .expect(201);
    assert!(figure(&server, "team", "history") <= 100);
    check(&server);
}

#[tokio::test]
async fn layers_of_removed_images_become_history_after_their_lease() {
    let mut server = server_with("30d", "1h").await;
    let (admin, dir) = (server.admin(), server.dir());
    set(&server, "team", "350KB");
    // As clients do that remove images by their manifests alone, and keep what they share.
    let base = noise(99, 2000);
    let kept = push(&admin, "team/a", "kept", &base).await;
    for round in 0..3_u64 {
        for n in 3 * round..3 * round + 3 {
            let layer = noise(n, LAYER);
            push_blob(&admin, "team/a", &layer).await;
            let manifest = bytes_of(&image(b"{}", &[&base, &layer]));
            put_manifest(&admin, "team/a", &format!("v{n}"), OCI_MANIFEST, &manifest).await;
            let path = format!("/v2/team/a/manifests/{}", sha256(&manifest));
            admin.delete(&path).await.expect(202);
            // Whoever was told that it is here has a lease to rely on that.
            let layer = format!("/v2/team/a/blobs/{}", sha256(&layer));
            admin.head(&layer).await.expect(200);
        }
        assert!(figure(&server, "team", "used") > 3 * LAYER as u64);
        for _ in 0..2 {
            pass(&mut server, Duration::from_secs(3_601)).await;
            run_ok(&["gc", "--data", &dir]);
        }
        let shown = kept.len() + base.len() + 2;
        assert_eq!(figure(&server, "team", "used"), shown as u64);
        assert_eq!(files(&server), 3, "of round {round}");
        assert!(figure(&server, "team", "history") <= 350_000);
    }
    check(&server);
    let layer = |n| format!("/v2/team/a/blobs/{}", sha256(&noise(n, LAYER)));
    admin.get(&layer(8)).await.refused(404, "BLOB_UNKNOWN");
    let base = format!("/v2/team/a/blobs/{}", sha256(&base));
    admin.get(&base).await.expect(200);
    // It comes back with its tag.
    let rev = made_by(&dir, "team/a:v8").to_string();
    run_ok(&["tag", "restore", "--data", &dir, "team/a:v8", "--rev", &rev]);
    let back = admin.get(&layer(8)).await.expect(200);
    assert_eq!(back.body, noise(8, LAYER));
    check(&server);
}

/// The revision that made a tag mean what it meant last.
fn made_by(dir: &str, what: &str) -> u64 {
    let seen = run_ok(&["tag", "history", "--data", dir, what, "--json"]);
    let all: serde_json::Value = serde_json::from_str(&seen).unwrap();
    let meant = all
        .as_array()
        .unwrap()
        .iter()
        .find(|c| !c["digest"].is_null());
    meant.unwrap_or_else(|| panic!("{seen}"))["rev"]
        .as_u64()
        .unwrap()
}

/// The quota's row as it was before the history counted.
#[derive(Debug, Encode, Decode)]
struct QuotaRecordV1 {
    limit: u64,
    used: u64,
    counted_to: Option<Vec<u8>>,
}

impl Record for QuotaRecordV1 {
    const NAME: &'static str = "quota";
    const VERSION: u8 = 1;
}

#[tokio::test]
async fn a_quota_of_before_gets_its_history_counted() {
    let mut server = server_keeping("30d").await;
    let admin = server.admin();
    set(&server, "team", "1MB");
    for n in 0..3 {
        let layer = noise(n, LAYER);
        let manifest = push(&admin, "team/a", &format!("v{n}"), &layer).await;
        if n > 0 {
            remove(&admin, "team/a", &manifest, &layer).await;
        }
    }
    let figures = |server: &Server| ["used", "history"].map(|what| figure(server, "team", what));
    let counted = figures(&server);
    assert_eq!(counted[1] / LAYER as u64, 2);
    server.kill();
    make_old(&server);
    server.restart().await;
    crate::core::quota::exact::until(&server, "team", "history", counted[1]).await;
    assert_eq!(figures(&server), counted);
    check(&server);
    // It counts from then on.
    let admin = server.admin();
    let manifest = bytes_of(&image(b"{}", &[&noise(0, LAYER)]));
    remove(&admin, "team/a", &manifest, &noise(0, LAYER)).await;
    assert_eq!(figure(&server, "team", "history") / LAYER as u64, 3);
    check(&server);
}

/// Writes the quota's rows as a program of before would have.
fn make_old(server: &Server) {
    let rows = Rows::open(&server.data());
    let row = rows.get(Table::Quotas, b"team\0").expect("the quota");
    let now = QuotaRecord::from_bytes(&row).unwrap();
    let old = QuotaRecordV1 {
        limit: now.limit,
        used: now.used,
        counted_to: None,
    };
    rows.put(Table::Quotas, b"team\0", &old.to_bytes().unwrap());
    for (key, row) in rows.all(Table::QuotaHolders) {
        if row[..8] == [0; 8] {
            rows.drop_row(Table::QuotaHolders, &key);
        } else {
            rows.put(Table::QuotaHolders, &key, &row[..8]);
        }
    }
}

#[tokio::test]
async fn a_digest_of_many_repositories_is_counted_over_several_transactions() {
    let server = server_keeping("30d").await;
    let admin = server.admin();
    let layer = noise(1, 70_000);
    let digest = push_blob(&admin, "team/0", &layer).await;
    let mount = |n: usize| {
        let path = format!("/v2/team/{n}/blobs/uploads/?mount={digest}&from=team/0");
        let admin = &admin;
        async move { admin.post(&path).await }
    };
    // More than two pages of what one transaction looks at.
    for from in (1..900).step_by(150) {
        for reply in futures_util::future::join_all((from..from + 150).map(mount)).await {
            reply.expect(201);
        }
    }
    push_blob(&admin, "team/0", b"and one more").await;
    set(&server, "team", "1MB");
    assert_eq!(figure(&server, "team", "used"), 70_012);
    // Recounted: as often as it is shown, and by as many as keep it.
    check(&server);
}
