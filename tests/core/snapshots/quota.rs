//! What a snapshot keeps counts as history: it fills a quota's bound, and goes with the snapshot.

use crate::core::quota::exact::{figure, server_keeping, try_blob};
use crate::core::snapshots::images::{clean, gc, root, snapshot, told};
use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, put_manifest, sha256,
};
use crate::harness::{Client, run_ok};

const LAYER: usize = 100_000;

async fn push(client: &Client, tag: &str, layer: &[u8]) -> Vec<u8> {
    push_blob(client, "team/a", b"{}").await;
    push_blob(client, "team/a", layer).await;
    let manifest = bytes_of(&image(b"{}", &[layer]));
    put_manifest(client, "team/a", tag, OCI_MANIFEST, &manifest).await;
    manifest
}

#[tokio::test]
async fn it_fills_the_bound_of_a_history_until_it_is_deleted() {
    let server = server_keeping("30d").await;
    let (admin, dir) = (server.admin(), server.dir());
    let quota = [
        "quota",
        "set",
        "--data",
        &dir,
        "team",
        "900KB",
        "--history",
        "150KB",
    ];
    run_ok(&quota);
    let remove = async |tag: u64| {
        let layer = noise(tag, LAYER);
        let manifest = push(&admin, &format!("v{tag}"), &layer).await;
        if tag == 1 {
            told(&server, &["create", "team/a", "--as", "kept"]);
        }
        let manifest = format!("/v2/team/a/manifests/{}", sha256(&manifest));
        admin.delete(&manifest).await.expect(202);
        let layer = format!("/v2/team/a/blobs/{}", sha256(&layer));
        admin.delete(&layer).await.expect(202);
    };
    remove(1).await;
    let whole = root(&server, "team/a@kept");
    // What comes after it is given up before its time; the snapshot is not.
    for tag in 2..5 {
        remove(tag).await;
        let history = figure(&server, "team", "history");
        assert!(history <= 150_000, "{history} after {tag}");
        assert_eq!(root(&server, "team/a@kept"), whole);
    }
    // With a narrower bound the snapshot alone fills it.
    let mut narrow = quota;
    narrow[7] = "50KB";
    run_ok(&narrow);
    let refused = try_blob(&admin, "team/a", &noise(9, LAYER)).await;
    refused.refused(403, "DENIED");
    clean(&server);
    snapshot(&server, &["delete", "team/a@kept"]);
    try_blob(&admin, "team/a", &noise(9, LAYER))
        .await
        .expect(201);
    gc(&server, &[]);
    assert_eq!(figure(&server, "team", "history"), 0);
    clean(&server);
}
