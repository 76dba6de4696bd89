//! Bodies of every length around the bounds at which bytes take another way: they come back as they were sent.

use std::path::Path;

use tempfile::TempDir;

use crate::content::{noise, push_blob, sha256};
use crate::harness::{Client, Server, init, with_query};

/// Around a block, the first buffer, what goes past the page cache, a piece and two.
const LENGTHS: [usize; 19] = [
    0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 262_143, 262_144, 266_240, 524_287, 524_288,
    524_289, 528_384, 1_048_575, 1_048_576, 1_048_577, 3_146_000,
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
