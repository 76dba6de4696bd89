//! Quotas on every part of a long name: whatever they add to a change, what fits without them comes, and comes back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::core::quota::exact::{figure, server_keeping, set};
use crate::harness::content::{
    OCI_INDEX, OCI_LAYER, OCI_MANIFEST, bytes_of, descriptor, image, noise, push_blob,
    put_manifest, sha256,
};
use crate::harness::fake::{Fake, tag_of};
use crate::harness::{Client, Server, run, run_ok, text_of, with_query};

/// A name of so many parts.
pub fn name(parts: usize) -> String {
    vec!["a"; parts].join("/")
}

/// Quotas for all above a name of so many parts, itself included.
pub fn set_all(server: &Server, parts: usize) {
    let name = name(parts);
    for n in 1..=parts {
        set(server, &name[..2 * n - 1], "10MiB");
    }
}

/// The image v1 of so many layers of 100 bytes, pushed; answers the layers and the manifest.
pub async fn layered(client: &Client, repo: &str, layers: u64) -> (Vec<Vec<u8>>, Vec<u8>) {
    let layers: Vec<Vec<u8>> = (0..layers).map(|n| noise(n, 100)).collect();
    push_blob(client, repo, b"{}").await;
    for layer in &layers {
        push_blob(client, repo, layer).await;
    }
    let all: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let manifest = bytes_of(&image(b"{}", &all));
    put_manifest(client, repo, "v1", OCI_MANIFEST, &manifest).await;
    (layers, manifest)
}

/// A sweep after the leases of a second have ended.
async fn sweep(server: &Server) {
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    run_ok(&["gc", "--data", &server.dir()]);
}

#[tokio::test]
async fn an_image_whose_links_are_gone_is_restored_below_them() {
    const PARTS: usize = 50;
    const LAYERS: u64 = 120;
    let server = server_keeping("1h").await;
    let (admin, repo) = (server.admin(), name(PARTS));
    let (layers, manifest) = layered(&admin, &repo, LAYERS).await;
    let digest = sha256(&manifest);
    set_all(&server, PARTS);
    let used = figure(&server, &repo, "used");
    let path = format!("/v2/{repo}/manifests/{digest}");
    admin.delete(&path).await.expect(202);
    // The links of its layers end with a lease, one by one.
    sweep(&server).await;
    sweep(&server).await;
    assert_eq!(figure(&server, &repo, "used"), 0);
    let dir = server.dir();
    let tag = format!("{repo}:v1");
    run_ok(&["tag", "restore", "--data", &dir, &tag, "--rev", "1"]);
    for layer in &layers {
        let path = format!("/v2/{repo}/blobs/{}", sha256(layer));
        admin.get(&path).await.expect(200);
    }
    let got = admin.get(&format!("/v2/{repo}/manifests/v1")).await;
    assert_eq!(got.expect(200).body, manifest);
    for prefix in ["a", &repo] {
        assert_eq!(figure(&server, prefix, "used"), used);
        assert_eq!(figure(&server, prefix, "history"), 0);
    }
    // It is there to stay.
    sweep(&server).await;
    assert_eq!(figure(&server, &repo, "used"), used);
    run_ok(&["check", "--data", &dir]);
}

#[tokio::test]
async fn a_closure_of_a_hundred_manifests_is_mirrored_and_restored_below_them() {
    const PARTS: usize = 100;
    const IMAGES: u64 = 100;
    let server = server_keeping("1h").await;
    set_all(&server, PARTS);
    let fake = Fake::start();
    let images: Vec<_> = (0..IMAGES)
        .map(|n| fake.image("", "amd64", n, 50))
        .collect();
    let children: Vec<Value> = images
        .iter()
        .map(|image| descriptor(OCI_MANIFEST, &image.bytes))
        .collect();
    let index = fake.index("v1", &children);
    let (dir, repo) = (server.dir(), name(PARTS));
    let output = run(&["mirror", "--data", &dir, &fake.source(":v1"), "--to", &repo]);
    assert!(output.status.success(), "{}", text_of(&output));
    let (admin, used) = (server.admin(), figure(&server, &repo, "used"));
    let path = |what: &str| format!("/v2/{repo}/manifests/{what}");
    for image in &images {
        admin.get(&path(&image.digest)).await.expect(200);
    }
    for gone in images.iter().map(|image| image.digest.clone()) {
        admin.delete(&path(&gone)).await.expect(202);
    }
    admin.delete(&path(&sha256(&index))).await.expect(202);
    sweep(&server).await;
    sweep(&server).await;
    let history = run_ok(&[
        "tag",
        "history",
        "--data",
        &dir,
        &format!("{repo}:v1"),
        "--json",
    ]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let then = history.as_array().unwrap().iter();
    let rev = then.filter(|change| change["digest"] == sha256(&index).as_str());
    let rev = rev.map(|change| change["rev"].as_u64().unwrap()).max();
    let rev = rev.unwrap().to_string();
    let tag = format!("{repo}:v1");
    run_ok(&["tag", "restore", "--data", &dir, &tag, "--rev", &rev]);
    for image in &images {
        admin.get(&path(&image.digest)).await.expect(200);
        let layer = format!("/v2/{repo}/blobs/{}", sha256(&image.layer));
        admin.get(&layer).await.expect(200);
    }
    assert_eq!(figure(&server, &repo, "used"), used);
    run_ok(&["check", "--data", &dir]);
}

#[tokio::test]
async fn the_largest_manifest_with_the_most_tags_is_pushed_below_the_most_of_them() {
    const PARTS: usize = 128;
    const TAGS: usize = 64;
    let server = server_keeping("1h").await;
    let (admin, repo) = (server.admin(), name(PARTS));
    assert_eq!(repo.len(), 255);
    // Of the most digests, with a subject; hundreds name it before it comes, and each of its tags means something else.
    let layer =
        |n: u64| json!({ "mediaType": OCI_LAYER, "digest": sha256(&n.to_be_bytes()), "size": 8 });
    let mut large = image(b"{}", &[]);
    large["layers"] = (0..3_999).map(layer).collect();
    large["subject"] = descriptor(OCI_MANIFEST, b"another");
    let large = bytes_of(&large);
    let put = async |tags: &[String], media_type: &str, bytes: &[u8]| {
        let tags: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let path = format!("/v2/{repo}/manifests/{}", sha256(bytes));
        let path = with_query(&path, &tags.join("&"));
        let headers = [("content-type", media_type)];
        admin.send("PUT", &path, &headers, bytes).await.expect(201)
    };
    for n in 0..310 {
        let mut one = descriptor(OCI_MANIFEST, &large);
        one["annotations"] = json!({ "n": n.to_string() });
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [one] });
        put(&[format!("t{n}")], OCI_INDEX, &bytes_of(&index)).await;
    }
    set_all(&server, PARTS);
    set(&server, "/", "10MiB");
    let tags: Vec<String> = (0..TAGS).map(|n| format!("t{n}")).collect();
    put(&tags, OCI_MANIFEST, &large).await;
    for tag in ["t0", "t63"] {
        let got = admin.get(&format!("/v2/{repo}/manifests/{tag}")).await;
        assert_eq!(got.expect(200).body, large);
    }
    run_ok(&["check", "--data", &server.dir()]);
}

#[tokio::test]
async fn an_image_of_hundreds_of_tags_is_mirrored() {
    // Three tags of each image, which all mean one manifest.
    const IMAGES: u64 = 600;
    let server = server_keeping("1h").await;
    let fake = Fake::start();
    let signature = bytes_of(&image(b"{}", &[]));
    fake.blob(b"{}");
    let mut children = Vec::new();
    for n in 0..IMAGES {
        let mut one = image(b"{}", &[]);
        one["annotations"] = json!({ "n": n.to_string() });
        let one = bytes_of(&one);
        let digest = fake.manifest("", OCI_MANIFEST, &one);
        for ending in [".sig", ".att", ".sbom"] {
            fake.manifest(&tag_of(&digest, ending), OCI_MANIFEST, &signature);
        }
        children.push(descriptor(OCI_MANIFEST, &one));
    }
    fake.index("v1", &children);
    let dir = server.dir();
    let output = run(&["mirror", "--data", &dir, &fake.source(":v1"), "--to", "app"]);
    assert!(output.status.success(), "{}", text_of(&output));
    let anyone = server.admin();
    let last = children.last().unwrap()["digest"].as_str().unwrap();
    for ending in [".sig", ".att", ".sbom"] {
        let path = format!("/v2/app/manifests/{}", tag_of(last, ending));
        assert_eq!(anyone.get(&path).await.expect(200).body, signature);
    }
    run_ok(&["check", "--data", &dir]);
}
