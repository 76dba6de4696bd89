//! Content files that are removed or cut by hand while the server runs: who asks for one hears that it is not here, and so does
//! who would push it; a push heals it.

use std::fs;
use std::path::PathBuf;

use crate::content::{OCI_MANIFEST, bytes_of, image, noise, push_blob, put_manifest, sha256};
use crate::harness::Server;

fn file_of(server: &Server, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let folder = server.data().join("blobs/sha256").join(&hex[..2]);
    let mut files = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let is_it = |p: &PathBuf| p.to_str().unwrap().contains(hex);
    files.find(is_it).expect("a content file")
}

#[tokio::test]
async fn a_lost_file_is_told_once_and_a_push_heals_it() {
    let server = Server::start().await;
    let admin = server.admin();
    let config = b"{\"os\":\"linux\"}";
    for (seed, is_cut) in [(1, false), (2, true)] {
        let layer = noise(seed, 200_000);
        let digest = sha256(&layer);
        let manifest = bytes_of(&image(config, &[&layer]));
        for name in ["a", "b"] {
            push_blob(&admin, name, config).await;
            push_blob(&admin, name, &layer).await;
            put_manifest(&admin, name, "v1", OCI_MANIFEST, &manifest).await;
        }
        let path = |name: &str| format!("/v2/{name}/blobs/{digest}");
        admin.get(&path("b")).await.expect(200);
        let file = file_of(&server, &digest);
        if is_cut {
            fs::OpenOptions::new()
                .write(true)
                .open(&file)
                .unwrap()
                .set_len(10)
                .unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
        // Nobody has looked yet.
        admin.head(&path("a")).await.expect(200);
        for name in ["a", "b", "a"] {
            admin.get(&path(name)).await.refused(404, "BLOB_UNKNOWN");
            admin.head(&path(name)).await.expect(404);
        }
        let log = server.log();
        let told: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("content file of a blob"))
            .collect();
        let told: Vec<_> = told.iter().filter(|line| line.contains(&digest)).collect();
        assert_eq!(told.len(), 1, "{log}");
        assert!(
            told[0].contains("a:v1") && told[0].contains("b:v1"),
            "{}",
            told[0]
        );
        // Who brings it heals it for all.
        push_blob(&admin, "a", &layer).await;
        for name in ["a", "b"] {
            assert_eq!(admin.get(&path(name)).await.expect(200).body, layer);
        }
    }
    let (code, report) = crate::damage::check(&server.data(), &["--deep"]);
    assert_eq!(
        (code, &report["problems"]),
        (0, &serde_json::json!([])),
        "{report:#}"
    );
}

/// A folder that is gone may be a disk that is not mounted: nothing is marked, and all is well once it is back.
#[tokio::test]
async fn a_lost_folder_marks_nothing() {
    let server = Server::start().await;
    let admin = server.admin();
    let layer = noise(7, 200_000);
    let digest = push_blob(&admin, "a", &layer).await;
    let (blobs, away) = (
        server.data().join("blobs/sha256"),
        server.data().join("blobs/away"),
    );
    fs::rename(&blobs, &away).unwrap();
    let path = format!("/v2/a/blobs/{digest}");
    admin.get(&path).await.expect(500);
    admin.head(&path).await.expect(200);
    fs::rename(&away, &blobs).unwrap();
    assert_eq!(admin.get(&path).await.expect(200).body, layer);
}
