//! Blobs that a mirror brings belong to nobody else: whatever a client does, the bytes behind a digest hash to it.
//!
//! Here stand an upstream that holds a layer back, and what is seen of the files of uploads.

mod closed;
mod given_up;
mod made_anew;
mod memory;
mod together;

use std::process::{Child, Stdio};

use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, push_image, put_manifest, sha256,
};
use crate::harness::damage;
use crate::harness::upstream::Upstream;
use crate::harness::{SOON, Server, dryport, text_of, until};

const LAYER: usize = 4 << 20;

/// An upstream with an image of one large layer, held back when it is asked for.
struct World {
    server: Server,
    upstream: Upstream,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl World {
    async fn new() -> Self {
        let server = Server::start().await;
        let (config, layer) = (br#"{"os":"linux"}"#.to_vec(), noise(70, LAYER));
        for blob in [&config, &layer] {
            push_blob(&server.admin(), "team/app", blob).await;
        }
        let manifest = bytes_of(&image(&config, &[&layer]));
        put_manifest(&server.admin(), "team/app", "v1", OCI_MANIFEST, &manifest).await;
        push_image(&server.admin(), "team/app", "small", 4).await;
        let upstream = Upstream::before(server.http);
        Self {
            server,
            upstream,
            layer,
            manifest,
        }
    }

    fn source(&self, tag: &str) -> String {
        format!("docker://127.0.0.1:{}/team/app:{tag}", self.upstream.port)
    }

    fn digest(&self) -> String {
        sha256(&self.layer)
    }

    /// Half of the layer comes, and no more until this is called with `false`.
    fn hold(&self, held: bool) {
        let mut manners = self.upstream.manners.lock().unwrap();
        manners.hold = held.then(|| (self.digest(), LAYER / 2));
    }

    /// How often the layer was asked for.
    fn asked(&self) -> usize {
        let manners = self.upstream.manners.lock().unwrap();
        let digest = self.digest();
        manners
            .asked
            .iter()
            .filter(|a| a.starts_with(&digest))
            .count()
    }

    /// What readers get for the layer and the manifest hashes to its digest, and a deep check finds nothing.
    async fn assert_law(&self, target: &Server, repo: &str) {
        let anyone = target.anonymous();
        let manifest = anyone
            .get(&format!("/v2/{repo}/manifests/v1"))
            .await
            .expect(200);
        assert_eq!(manifest.body, self.manifest);
        let path = format!("/v2/{repo}/blobs/{}", self.digest());
        let got = anyone.get(&path).await.expect(200).body;
        assert_eq!(
            sha256(&got),
            self.digest(),
            "the bytes behind a digest are others"
        );
        let (code, report) = damage::check(&target.data(), &["--deep"]);
        assert_eq!(
            (code, &report["problems"]),
            (0, &serde_json::json!([])),
            "{report:#}"
        );
    }
}

fn begin(target: &Server, source: &str, to: &str) -> Child {
    dryport(&["mirror", "--data", &target.dir(), source, "--to", to])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn success(child: Child) {
    let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    let output = ended.await.unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
}

/// Names and lengths of the files of uploads.
pub fn uploads(target: &Server) -> Vec<(String, u64)> {
    let files = std::fs::read_dir(target.data().join("uploads")).unwrap();
    let file = |e: std::io::Result<std::fs::DirEntry>| {
        let e = e.unwrap();
        let len = e.metadata().map_or(0, |meta| meta.len());
        (e.file_name().into_string().unwrap(), len)
    };
    files.map(file).collect()
}

async fn until_half_here(target: &Server) {
    until_received(target, 1 << 20).await;
}

/// Waits until the file of an upload has so many bytes.
pub async fn until_received(server: &Server, bytes: u64) {
    let long = async || uploads(server).iter().any(|(_, len)| *len >= bytes);
    until("an upload's bytes are in its file", SOON, long).await;
}

/// A run of `v1` into `copy` that has brought half of its blob, and gets no more until the world lets go.
async fn half_way() -> (World, Server, Child) {
    let (world, target) = (World::new().await, Server::start().await);
    world.hold(true);
    let run = begin(&target, &world.source("v1"), "copy");
    until_half_here(&target).await;
    (world, target, run)
}

fn run_kill(child: &Child) {
    let pid = child.id().to_string();
    let status = std::process::Command::new("kill")
        .args(["-s", "INT", &pid])
        .status();
    assert!(status.unwrap().success());
}
