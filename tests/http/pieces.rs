//! Bodies of every length around the bounds at which bytes take another way: they come back as they were sent.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, put_manifest, sha256,
};
use crate::harness::{Client, Server, init, run_ok, skip, text_of, with_query};

/// Around a block, a page of the store and what fills one, the first buffer, what goes past the page cache, a piece and two.
const LENGTHS: [usize; 25] = [
    0, 1, 3_967, 3_968, 3_969, 4095, 4096, 4097, 9_000, 65_408, 65_409, 65_535, 65_536, 65_537,
    262_143, 262_144, 266_240, 524_287, 524_288, 524_289, 528_384, 1_048_575, 1_048_576, 1_048_577,
    3_146_000,
];

async fn in_chunks(client: &Client, repo: &str, bytes: &[u8], of: usize) -> String {
    let begun = client.post(&format!("/v2/{repo}/blobs/uploads/")).await;
    let mut at = begun.expect(202).location();
    let (chunks, last) = bytes.split_at(bytes.len() / of * of);
    for chunk in chunks.chunks(of) {
        at = client
            .send("PATCH", &at, &[], chunk)
            .await
            .expect(202)
            .location();
    }
    let digest = sha256(bytes);
    let end = with_query(&at, &format!("digest={digest}"));
    client.send("PUT", &end, &[], last).await.expect(201);
    digest
}

async fn come_back(server: &Server) {
    let client = server.admin();
    for (n, len) in LENGTHS.into_iter().enumerate() {
        let whole = noise(n as u64, len);
        let digest = push_blob(&client, "whole", &whole).await;
        let reply = client.get(&format!("/v2/whole/blobs/{digest}")).await;
        assert!(reply.expect(200).body == whole, "{len} bytes at once");
    }
    for of in [300_001, 524_288, 700_000] {
        let bytes = noise(of as u64, 2_345_678);
        let digest = in_chunks(&client, "chunks", &bytes, of).await;
        let reply = client.get(&format!("/v2/chunks/blobs/{digest}")).await;
        assert!(reply.expect(200).body == bytes, "in chunks of {of}");
    }
}

#[tokio::test]
async fn bodies_of_every_length_come_back() {
    come_back(&Server::start().await).await;
}

#[tokio::test]
async fn also_from_a_file_system_in_memory() {
    let home = TempDir::new_in(Path::new("/dev/shm")).unwrap();
    init(&home.path().join("data"), &[]);
    come_back(&Server::serve(home, &[], &[]).await).await;
}

/// The one content file of this length.
pub fn file_of(server: &Server, len: u64) -> PathBuf {
    let folders = server.data().join("blobs/sha256").read_dir().unwrap();
    let files = folders.flat_map(|f| f.unwrap().path().read_dir().unwrap());
    let mut paths = files.map(|f| f.unwrap().path());
    let found = paths.find(|p| p.metadata().unwrap().size() == len);
    found.expect("a content file")
}

/// Bytes of a file that the kernel has in memory; `None` where nobody can tell, or all files are.
pub fn in_memory(path: &Path) -> Option<u64> {
    let kind = Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(path)
        .output()
        .unwrap();
    if text_of(&kind).contains("tmpfs") {
        skip("the temporary directory is in memory");
        return None;
    }
    let told = Command::new("fincore")
        .args(["-b", "-n", "-o", "RES"])
        .arg(path)
        .output();
    let Some(told) = told.ok().filter(|told| told.status.success()) else {
        skip("no fincore");
        return None;
    };
    Some(
        String::from_utf8_lossy(&told.stdout)
            .trim()
            .parse()
            .unwrap(),
    )
}

/// The end of a blob may be in memory: a piece that is too short, or what is no whole block.
fn assert_little(bytes: Option<u64>) {
    assert!(bytes.is_none_or(|bytes| bytes < 300_000), "{bytes:?} bytes");
}

#[tokio::test]
async fn large_pushes_and_mirror_runs_leave_the_page_cache_alone() {
    let (here, there) = (Server::start().await, Server::start().await);
    let admin = here.admin();
    let layer = noise(77, 5_000_000);
    push_blob(&admin, "a", &layer).await;
    // Before anybody reads it.
    let len = layer.len() as u64;
    assert_little(in_memory(&file_of(&here, len)));
    let config = b"{}".as_slice();
    push_blob(&admin, "a", config).await;
    put_manifest(
        &admin,
        "a",
        "t",
        OCI_MANIFEST,
        &bytes_of(&image(config, &[&layer])),
    )
    .await;
    let source = format!("docker://{}/a:t", here.host());
    run_ok(&[
        "mirror",
        "--data",
        &there.dir(),
        "--plain-http",
        &source,
        "--to",
        "a",
    ]);
    assert_little(in_memory(&file_of(&there, len)));
}
