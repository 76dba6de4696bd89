//! Content that tests push: blobs, manifests, indexes, artifacts.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use crate::harness::{Client, with_query};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

pub fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex(&Sha512::digest(bytes)))
}

/// Bytes that look random and are the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// POST, then PUT; gives the digest.
pub async fn push_blob(client: &Client, repo: &str, bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    let start = client
        .post(&format!("/v2/{repo}/blobs/uploads/"))
        .await
        .expect(202);
    let put = with_query(&start.location(), &format!("digest={digest}"));
    let octets = [("content-type", "application/octet-stream")];
    client.send("PUT", &put, &octets, bytes).await.expect(201);
    digest
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

pub fn image(config: &[u8], layers: &[&[u8]]) -> Value {
    let layers: Vec<_> = layers.iter().map(|l| descriptor(OCI_LAYER, l)).collect();
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, config), "layers": layers})
}

pub fn bytes_of(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// Pushes an image of one layer made from `seed`; gives its manifest's bytes.
pub async fn push_image(client: &Client, repo: &str, tag: &str, seed: u64) -> Vec<u8> {
    let config =
        format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"seed\":{seed}}}").into_bytes();
    let layer = noise(seed, 2000);
    push_blob(client, repo, &config).await;
    push_blob(client, repo, &layer).await;
    let manifest = bytes_of(&image(&config, &[&layer]));
    put_manifest(client, repo, tag, OCI_MANIFEST, &manifest).await;
    manifest
}

pub async fn put_manifest(
    client: &Client,
    repo: &str,
    reference: &str,
    media_type: &str,
    bytes: &[u8],
) -> String {
    let path = format!("/v2/{repo}/manifests/{reference}");
    let reply = client
        .send("PUT", &path, &[("content-type", media_type)], bytes)
        .await
        .expect(201);
    assert_eq!(reply.header("docker-content-digest"), sha256(bytes));
    sha256(bytes)
}

/// An artifact that names `subject`, with an empty config; its blobs must be there (`push_artifact_blobs`).
pub fn artifact(subject: &Value, artifact_type: &str, note: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": artifact_type,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.oci.empty.v1+json", b"{}")],
        "subject": subject, "annotations": {"note": note},
    })
}
