//! Deletes that search long for what needs something: they keep their own client waiting, and nobody else.

use dryport::types::{Algorithm, Digest};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use crate::core::past::{Filler, assert_bounded, image_of};
use crate::harness::content::{OCI_MANIFEST, bytes_of, image, push_blob, put_manifest};
use crate::harness::{Client, Server};

const PASSWORD: &str = "correct horse battery";

/// A server whose repository `app` has a layer that thousands of manifests of the past name, and behind them all the
/// image that needs it.
async fn with_long_search() -> (Server, String) {
    let mut server = Server::start().await;
    let (layer, live) = image_of(&server.admin(), "app").await;
    let before = |n: &u64| Digest::of(Algorithm::Sha256, &n.to_be_bytes()) < live;
    let past: Vec<u64> = (0..1_000_000).filter(before).take(8000).collect();
    assert_eq!(past.len(), 8000);
    let mut filler = Filler::open(&mut server, "app");
    for n in past {
        filler.parent(n, &layer);
    }
    filler.serve(&mut server).await;
    (server, format!("/v2/app/blobs/{layer}"))
}

/// Paths of manifests without a tag.
async fn untagged(client: &Client, number: u32) -> Vec<String> {
    let mut paths = Vec::new();
    for n in 0..number {
        let config = format!("{{\"n\":{n}}}");
        push_blob(client, "other", config.as_bytes()).await;
        let manifest = bytes_of(&image(config.as_bytes(), &[]));
        let digest = put_manifest(client, "other", "t", OCI_MANIFEST, &manifest).await;
        client.delete("/v2/other/manifests/t").await.expect(202);
        paths.push(format!("/v2/other/manifests/{digest}"));
    }
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn long_searches_of_one_client_keep_nobody_else_waiting() {
    let (server, blob) = with_long_search().await;
    server.add_user("will", PASSWORD, &["--role", "writer", "--on", ""]);
    let (admin, will) = (server.admin(), server.client(Some(("will", PASSWORD))));
    let paths = untagged(&admin, 2).await;
    // So many would take a minute one after the other; each may be refused and asked for again.
    let mut asked: FuturesUnordered<_> = (0..200).map(|_| will.delete(&blob)).collect();
    let first = asked.next().await.expect("an answer");
    first.expect(405);
    // In one hop: it waits for none of them. Nor does one of another client that is long itself wait for all.
    let (rest, (short, long)) = tokio::join!(asked.collect::<Vec<_>>(), async {
        (admin.delete(&paths[0]).await, admin.delete(&blob).await)
    });
    short.expect(202);
    long.expect(405);
    for reply in rest {
        if reply.status != 405 {
            reply.refused(429, "TOOMANYREQUESTS");
        }
    }
    // What ends in one hop is nobody's turn, however many of one client ask at once.
    let shorts = join_all((0..50).map(|_| will.delete(&paths[1]))).await;
    let done = shorts.iter().filter(|reply| reply.status == 202).count();
    let gone = shorts.iter().filter(|reply| reply.status == 404).count();
    assert_eq!((done, gone), (1, 49));
    assert_bounded(&server).await;
}
