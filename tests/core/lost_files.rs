//! Content files that are removed or cut by hand while the server runs: who asks for one hears that it is not here, and so does
//! who would push it; a push heals it.

use std::fs;
use std::path::PathBuf;

use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, put_manifest, sha256,
};
use crate::harness::{Server, run_ok};

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
        // Nobody has looked yet: what stands in memory is believed.
        admin.head(&path("b")).await.expect(200);
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
    let (code, report) = crate::harness::damage::check(&server.data(), &["--deep"]);
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

/// A content file of 200,000 bytes that is gone, in `a`, where nobody has asked for it since.
async fn lost(server: &Server, seed: u64) -> (Vec<u8>, String) {
    let layer = noise(seed, 200_000);
    let digest = push_blob(&server.admin(), "a", &layer).await;
    fs::remove_file(file_of(server, &digest)).unwrap();
    (layer, digest)
}

/// Who brings a blob whose file is gone, or may skip its upload because it is here, is the one who can heal it: nobody is told
/// that it is here.
#[tokio::test]
async fn who_brings_a_lost_file_heals_it_at_once() {
    let server = Server::start().await;
    let admin = server.admin();
    let get = async |name: &str, digest: &str| {
        let path = format!("/v2/{name}/blobs/{digest}");
        admin.get(&path).await.expect(200).body
    };
    // In one request, in two, and into another repository.
    let (layer, digest) = lost(&server, 11).await;
    push_blob(&admin, "a", &layer).await;
    assert_eq!(get("a", &digest).await, layer);
    let (layer, digest) = lost(&server, 12).await;
    push_blob(&admin, "b", &layer).await;
    for name in ["a", "b"] {
        assert_eq!(get(name, &digest).await, layer);
    }
    let (layer, digest) = lost(&server, 13).await;
    let whole = format!("/v2/a/blobs/uploads/?digest={digest}");
    let octets = [("content-type", "application/octet-stream")];
    admin
        .send("POST", &whole, &octets, &layer)
        .await
        .expect(201);
    assert_eq!(get("a", &digest).await, layer);
    // A mount of it is an upload, and so is what a HEAD asks for.
    for (seed, from) in [(14, "&from=a"), (15, "")] {
        let (_, digest) = lost(&server, seed).await;
        let mount = format!("/v2/c/blobs/uploads/?mount={digest}{from}");
        admin.post(&mount).await.expect(202);
    }
    let (_, digest) = lost(&server, 16).await;
    let path = format!("/v2/a/blobs/{digest}");
    admin.head(&path).await.expect(404);
}

/// The same of a manifest that is so large that it has a file.
#[tokio::test]
async fn a_lost_manifest_is_not_here_and_a_push_heals_it() {
    let server = Server::start().await;
    let admin = server.admin();
    push_blob(&admin, "a", b"{}").await;
    for (seed, is_asked_for) in [(1, true), (2, false)] {
        let mut manifest = image(b"{}", &[]);
        let text: String = noise(seed, 100_000)
            .iter()
            .map(|b| char::from(b'a' + b % 16))
            .collect();
        manifest["annotations"] = serde_json::json!({ "text": text });
        let manifest = bytes_of(&manifest);
        let digest = put_manifest(&admin, "a", "v1", OCI_MANIFEST, &manifest).await;
        fs::remove_file(file_of(&server, &digest)).unwrap();
        let path = |of: &str| format!("/v2/a/manifests/{of}");
        if is_asked_for {
            for of in ["v1", &digest] {
                admin.get(&path(of)).await.refused(404, "MANIFEST_UNKNOWN");
                admin.head(&path(of)).await.expect(404);
            }
        }
        put_manifest(&admin, "a", "v1", OCI_MANIFEST, &manifest).await;
        assert_eq!(admin.get(&path("v1")).await.expect(200).body, manifest);
    }
    let (code, report) = crate::harness::damage::check(&server.data(), &["--deep"]);
    assert_eq!(
        (code, &report["problems"]),
        (0, &serde_json::json!([])),
        "{report:#}"
    );
}

/// A mirror run that finds its blob here looks whether that is so.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_run_brings_a_lost_file_again() {
    let upstream = Server::start().await;
    let layer = noise(21, 200_000);
    let config = b"{\"os\":\"linux\"}";
    let there = upstream.admin();
    push_blob(&there, "team/app", config).await;
    let digest = push_blob(&there, "team/app", &layer).await;
    let manifest = bytes_of(&image(config, &[&layer]));
    put_manifest(&there, "team/app", "v1", OCI_MANIFEST, &manifest).await;
    let server = Server::start().await;
    let mirror = || {
        let source = format!("docker://127.0.0.1:{}/team/app:v1", upstream.https);
        run_ok(&[
            "mirror",
            "--data",
            &server.dir(),
            &source,
            "--to",
            "copy",
            "--insecure",
        ]);
    };
    mirror();
    fs::remove_file(file_of(&server, &digest)).unwrap();
    mirror();
    let path = format!("/v2/copy/blobs/{digest}");
    assert_eq!(server.admin().get(&path).await.expect(200).body, layer);
}
