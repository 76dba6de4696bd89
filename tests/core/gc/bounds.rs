//! What the collector looks at in one transaction, where others have written rows by the thousand or quotas by the
//! hundred: no more than its bound, and what nothing needs goes all the same.

use std::time::Duration;

use dryport::repo::rows::keys::{self, Class, DueKind, Name};
use dryport::store::{Get as _, StoreError, Table};
use dryport::types::{Algorithm, Digest, RepoId, Rev};

use serde_json::Value;

use crate::core::past::{Filler, Row, assert_bounded, closed_store, fill, image_of};
use crate::core::quota::exact::server_keeping;
use crate::core::quota::nested::{layered, name, set_all};
use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, put_manifest, sha256,
};
use crate::harness::{Server, run_ok};

/// A sweep after the leases of a second have ended.
async fn sweep(server: &Server, more: &[&str]) {
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let dir = server.dir();
    let args = [&["gc", "--data", &dir][..], more].concat();
    run_ok(&args);
}

#[tokio::test]
async fn what_thousands_of_repositories_only_name_is_freed_within_bounds() {
    const REPOS: u64 = 8_000;
    let mut server = server_keeping("0s").await;
    let admin = server.admin();
    let (small, large) = (noise(1, 5_000), noise(2, 100_000));
    let blobs = [&small, &large].map(|bytes| sha256(bytes));
    for bytes in [&small, &large] {
        push_blob(&admin, "app", bytes).await;
    }
    let store = closed_store(&mut server);
    let mut rows: Vec<Row> = Vec::new();
    for digest in blobs.iter().map(|d| d.parse::<Digest>().unwrap()) {
        // In the order of their numbers between the first repository that shows it and the next.
        for id in (2..REPOS).map(RepoId) {
            let parent = Digest::of(Algorithm::Sha256, &id.0.to_be_bytes());
            let wanted = keys::manifest_ref(&digest, id, Class::Wanted, &parent, Rev(1));
            rows.push((keys::table(Class::Wanted), wanted, Vec::new()));
            let (held, end) = (keys::held(&digest, id), 5_u64.to_be_bytes());
            rows.push((keys::table(Class::Held), held, end.to_vec()));
        }
    }
    let next = REPOS.to_be_bytes().to_vec();
    rows.push((Table::Meta, b"next_repo".to_vec(), next));
    fill(&store, &rows);
    store.close();
    server.restart().await;
    let admin = server.admin();
    for bytes in [&small, &large] {
        push_blob(&admin, "other", bytes).await;
    }
    push_blob(&admin, "other", b"{}").await;
    let manifest = bytes_of(&image(b"{}", &[&small, &large]));
    let digest = put_manifest(&admin, "other", "v1", OCI_MANIFEST, &manifest).await;
    for blob in &blobs {
        let path = format!("/v2/app/blobs/{blob}");
        admin.delete(&path).await.expect(202);
    }
    sweep(&server, &[]).await;
    for blob in &blobs {
        let path = format!("/v2/other/blobs/{blob}");
        admin.get(&path).await.expect(200);
    }
    let file = server.data().join("blobs/sha256");
    assert_eq!(files(&file), 1);
    let path = format!("/v2/other/manifests/{digest}");
    admin.delete(&path).await.expect(202);
    sweep(&server, &[]).await;
    sweep(&server, &["--purge-history"]).await;
    assert_eq!(files(&file), 0);
    assert_bounded(&server).await;
}

/// Files below a folder.
fn files(dir: &std::path::Path) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        found += if path.is_dir() { files(&path) } else { 1 };
    }
    found
}

#[tokio::test]
async fn what_a_hundred_quotas_count_is_let_go_within_bounds() {
    const PARTS: usize = 100;
    const LAYERS: u64 = 120;
    let server = server_keeping("1h").await;
    let admin = server.admin();
    let repo = name(PARTS);
    let (_, manifest) = layered(&admin, &repo, LAYERS).await;
    let digest = sha256(&manifest);
    set_all(&server, PARTS);
    let bytes = LAYERS * 100 + 2 + manifest.len() as u64;
    let figures = |what: &str| -> Vec<u64> {
        let all = run_ok(&["quota", "list", "--data", &server.dir(), "--json"]);
        let all: Value = serde_json::from_str(&all).unwrap();
        let all = all.as_array().unwrap().iter();
        all.map(|quota| quota[what].as_u64().unwrap()).collect()
    };
    let used = figures("used");
    assert_eq!(used.len(), PARTS);
    assert!(used.iter().all(|used| *used == bytes), "{used:?}");
    let path = format!("/v2/{repo}/manifests/{digest}");
    admin.delete(&path).await.expect(202);
    // The links of its layers end with a lease, one by one; then only the history has them.
    sweep(&server, &[]).await;
    sweep(&server, &[]).await;
    let history = figures("history");
    assert!(history.iter().all(|kept| *kept == bytes), "{history:?}");
    sweep(&server, &["--purge-history"]).await;
    for what in ["used", "history"] {
        let left = figures(what);
        assert!(left.iter().all(|left| *left == 0), "{what} {left:?}");
    }
    assert_bounded(&server).await;
    run_ok(&["check", "--data", &server.dir()]);
}

#[tokio::test]
async fn a_revision_that_closed_thousands_is_forgotten_within_bounds() {
    const TAGS: usize = 4_500;
    let mut server = server_keeping("1h").await;
    let (_, image) = image_of(&server.admin(), "app").await;
    let mut filler = Filler::open(&mut server, "app");
    let (added, removed) = (filler.added, filler.removed());
    for n in 0..TAGS {
        let tag = format!("t{n:05}");
        filler.tag(&tag, &image, added, removed);
        for rev in [added, removed] {
            let change = keys::change(filler.id, rev, &Name::tag(&tag));
            filler.rows.push((Table::Changes, change, Vec::new()));
        }
    }
    let what = keys::due_rev(filler.id, removed);
    let due = keys::due(3_600_000, DueKind::History, &what);
    filler.rows.push((Table::Due, due, vec![0; 8]));
    let id = filler.id;
    filler.serve(&mut server).await;
    let (dir, admin) = (server.dir(), server.admin());
    let kept = run_ok(&["gc", "--data", &dir, "--json"]);
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["kept_by_history"], TAGS);
    let gone = run_ok(&["gc", "--data", &dir, "--json", "--purge-history"]);
    let gone: Value = serde_json::from_str(&gone).unwrap();
    assert_eq!(gone["history_dropped"], TAGS, "{gone} after {kept}");
    let manifest = format!("/v2/app/manifests/{image}");
    admin.get(&manifest).await.expect(200);
    assert_bounded(&server).await;
    // No change tells of them any more.
    let store = closed_store(&mut server);
    let left = store.read(|r| {
        let mut left = 0;
        for rev in [added, removed] {
            let (from, to) = keys::change_names(id, rev);
            left += r.scan(Table::Changes, &from, &to, TAGS)?.len();
        }
        Ok::<_, StoreError>(left)
    });
    assert_eq!(left.unwrap(), 0);
}
