//! Content that many manifests named before it came, and pushes of manifests that break off.

use crate::formats::oci::attestations::server;
use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, bytes_of, descriptor, image, noise, push_blob, put_manifest, sha256,
};
use crate::harness::damage::{check, kinds};
use crate::harness::{ADMIN, SOON, Server, basic, run_ok, until};
use serde_json::json;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// Content files below a folder.
fn files(dir: &Path) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        found += if path.is_dir() { files(&path) } else { 1 };
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_client_went_away_leaves_no_file_without_a_row() {
    let server = Server::start().await;
    let admin = server.admin();
    push_blob(&admin, "a", b"{}").await;
    let mut digests = Vec::new();
    for round in 0..12_u64 {
        let mut manifest = image(b"{}", &[]);
        manifest["annotations"] = json!({ "x": "a".repeat(1_000_000), "n": round.to_string() });
        let body = bytes_of(&manifest);
        digests.push(sha256(&body));
        let mut stream = TcpStream::connect(("127.0.0.1", server.http)).unwrap();
        let head = format!(
            "PUT /v2/a/manifests/{} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-type: {OCI_MANIFEST}\r\ncontent-length: {}\r\n\r\n",
            sha256(&body),
            server.host(),
            basic(ADMIN.0, ADMIN.1),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        // At a moment that differs from round to round.
        tokio::time::sleep(Duration::from_millis(2 * round)).await;
        drop(stream);
    }
    // Each that left a file was brought to its end; before, one stayed a file that no row names.
    let blobs = server.data().join("blobs");
    let what = "each file is a manifest's, and there are some";
    until(what, SOON, async || {
        let mut taken = 0;
        for digest in &digests {
            let head = admin.head(&format!("/v2/a/manifests/{digest}")).await;
            taken += usize::from(head.status == 200);
        }
        taken == files(&blobs) && taken > 0
    })
    .await;
}

/// An index of what is not there.
fn index(n: usize, manifest: &[u8], blob: &[u8]) -> Vec<u8> {
    let mut one = descriptor(OCI_MANIFEST, manifest);
    one["annotations"] = json!({ "n": n.to_string() });
    let other = descriptor("application/vnd.example.layer", blob);
    bytes_of(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [one, other] }))
}

/// An arrival turns a hundred into references. When all of those are gone the next one keeps it, before the collector looks at
/// its lease.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_hundred_are_gone_the_next_one_keeps_it() {
    let server = server("1h").await;
    let admin = server.admin();
    let (child, blob) = (bytes_of(&image(b"{}", &[])), noise(1, 100));
    let mut indexes: Vec<_> = (0..103).map(|n| index(n, &child, &blob)).collect();
    indexes.sort_by_key(|bytes| sha256(bytes));
    for bytes in &indexes {
        put_manifest(&admin, "a", &sha256(bytes), OCI_INDEX, bytes).await;
    }
    push_blob(&admin, "a", b"{}").await;
    put_manifest(&admin, "a", &sha256(&child), OCI_MANIFEST, &child).await;
    push_blob(&admin, "a", &blob).await;
    for gone in &indexes[..100] {
        let gone = format!("/v2/a/manifests/{}", sha256(gone));
        admin.delete(&gone).await.expect(202);
    }
    run_ok(&["gc", "--data", &server.dir()]);
    let (code, report) = check(&server.data(), &[]);
    assert_eq!((code, kinds(&report)), (0, Vec::new()), "{report:#}");
    // As do those after it, one after the other.
    for gone in &indexes[100..102] {
        let gone = format!("/v2/a/manifests/{}", sha256(gone));
        admin.delete(&gone).await.expect(202);
        run_ok(&["gc", "--data", &server.dir()]);
        let (code, report) = check(&server.data(), &[]);
        assert_eq!((code, kinds(&report)), (0, Vec::new()), "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hundreds_named_before_it_came_stays_as_long_as_one_of_them() {
    let server = server("1s").await;
    let admin = server.admin();
    // As many layers as a manifest may name beside its configuration: its own rows are nearly all of a transaction.
    let layer = |n: u64| json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sha256(&n.to_be_bytes()), "size": 8 });
    let mut child = image(b"{}", &[]);
    child["layers"] = (0..3_900).map(layer).collect();
    let (child, blob) = (bytes_of(&child), noise(1, 100));
    let mut indexes = Vec::new();
    for n in 0..620 {
        let bytes = index(n, &child, &blob);
        let tag = format!("t{n}");
        indexes.push((sha256(&bytes), tag.clone()));
        put_manifest(&admin, "a", &tag, OCI_INDEX, &bytes).await;
    }
    let digest = sha256(&child);
    let path = format!("/v2/a/manifests/{digest}");
    let put = admin.send("PUT", &path, &[("content-type", OCI_MANIFEST)], &child);
    put.await.expect(201);
    push_blob(&admin, "a", &blob).await;

    // All but one go. Which of them its arrival turned into references is the order of their digests.
    indexes.sort();
    let (last, _) = indexes.pop().unwrap();
    for (gone, _) in &indexes {
        let gone = format!("/v2/a/manifests/{gone}");
        admin.delete(&gone).await.expect(202);
    }
    let here = async || {
        admin
            .get(&format!("/v2/a/manifests/{last}"))
            .await
            .expect(200);
        let blob = format!("/v2/a/blobs/{}", sha256(&blob));
        (admin.get(&path).await.status, admin.get(&blob).await.status)
    };
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        run_ok(&["gc", "--data", &server.dir(), "--purge-history"]);
        assert_eq!(here().await, (200, 200));
    }
    // And they go with the last.
    admin
        .delete(&format!("/v2/a/manifests/{last}"))
        .await
        .expect(202);
    let blob = format!("/v2/a/blobs/{}", sha256(&blob));
    until("they go", SOON, async || {
        // Longer than a lease, which asking renews.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        run_ok(&["gc", "--data", &server.dir(), "--purge-history"]);
        (
            admin.head(&path).await.status,
            admin.head(&blob).await.status,
        ) == (404, 404)
    })
    .await;
    run_ok(&["check", "--data", &server.dir()]);
}
