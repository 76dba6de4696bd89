//! Blobs: one download for all who want one, readable while it comes, whole or not at all.

use std::time::Duration;

use super::{World, add_upstream, path};
use crate::harness::content::sha256;
use crate::harness::fake::Fake;
use crate::harness::upstream::Upstream;
use crate::harness::{SOON, Server, until};

const LAYER: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_are_one_download() {
    let world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, LAYER);
    world.get("manifests/1.0").await.expect(200);
    world.asked();
    let (anyone, blob) = (
        world.server.anonymous(),
        path(&format!("blobs/{}", sha256(&image.layer))),
    );
    let pulls = (0..50).map(|n: u64| {
        let (anyone, blob, layer) = (&anyone, &blob, &image.layer);
        async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            if n.is_multiple_of(5) {
                let range = [("range", "bytes=1000000-2000000")];
                let got = anyone.send("GET", blob, &range, b"").await.expect(206);
                assert_eq!(
                    got.header("content-range"),
                    format!("bytes 1000000-2000000/{LAYER}")
                );
                assert!(got.body == layer[1_000_000..=2_000_000]);
            } else {
                assert!(anyone.get(blob).await.expect(200).body == *layer);
            }
        }
    });
    futures_util::future::join_all(pulls).await;
    assert_eq!(world.asked().len(), 1);
}

/// The upstream holds half of a blob back: a client has the first half meanwhile, the rest comes when it comes.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_sent_as_they_come() {
    let fake = Fake::start();
    let image = fake.image("1.0", "amd64", 1, LAYER);
    let slow = Upstream::before(fake.port);
    let server = Server::start().await;
    add_upstream(&server, ("far", "far.example"), slow.port, &[]);
    server
        .anonymous()
        .get(&path("manifests/1.0"))
        .await
        .expect(200);
    let digest = sha256(&image.layer);
    slow.manners.lock().unwrap().hold = Some((digest.clone(), LAYER / 2));
    let url = format!("{}{}", server.host(), path(&format!("blobs/{digest}")));
    let mut answer = reqwest::get(format!("http://{url}")).await.unwrap();
    assert_eq!(answer.content_length(), Some(LAYER as u64));
    let mut got = Vec::new();
    while got.len() < LAYER / 2 - (1 << 20) {
        let piece = tokio::time::timeout(SOON, answer.chunk())
            .await
            .expect("it comes");
        got.extend_from_slice(&piece.unwrap().expect("more"));
    }
    // Who comes late gets the same.
    let late = {
        let range = [("range", "bytes=0-99999")];
        let anyone = server.anonymous();
        let blob = path(&format!("blobs/{digest}"));
        anyone.send("GET", &blob, &range, b"").await.expect(206)
    };
    assert!(late.body == image.layer[..100_000]);
    slow.manners.lock().unwrap().hold = None;
    while let Some(piece) = answer.chunk().await.unwrap() {
        got.extend_from_slice(&piece);
    }
    assert!(got == image.layer);
    let asked = slow.manners.lock().unwrap().asked.len();
    assert_eq!(asked, 1);
}

/// A download that breaks off goes on from there, also after a kill in its middle.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_is_not_fetched_again() {
    let fake = Fake::start();
    let image = fake.image("1.0", "amd64", 1, LAYER);
    let slow = Upstream::before(fake.port);
    let mut server = Server::start().await;
    add_upstream(&server, ("far", "far.example"), slow.port, &[]);
    server
        .anonymous()
        .get(&path("manifests/1.0"))
        .await
        .expect(200);
    let digest = sha256(&image.layer);
    let blob = path(&format!("blobs/{digest}"));
    slow.manners.lock().unwrap().hold = Some((digest.clone(), LAYER / 2));
    let anyone = server.anonymous();
    let begun = {
        let blob = blob.clone();
        tokio::spawn(async move { anyone.maybe("GET", &blob, &[], b"").await })
    };
    let file = || {
        let files = std::fs::read_dir(server.data().join("uploads")).unwrap();
        let lens = files
            .flatten()
            .filter_map(|f| f.metadata().ok().map(|m| m.len()));
        lens.max().unwrap_or_default()
    };
    until("half of it came", SOON, async || {
        file() > (LAYER / 2 - (1 << 20)) as u64
    })
    .await;
    server.kill();
    assert!(
        begun
            .await
            .unwrap()
            .is_none_or(|reply| reply.body.len() < LAYER)
    );
    slow.manners.lock().unwrap().hold = None;
    server.restart().await;
    let got = server.anonymous().get(&blob).await.expect(200);
    assert!(got.body == image.layer);
    let asked = slow.manners.lock().unwrap().asked.clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].contains("bytes="), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_layer_comes_once_for_all_repositories_of_its_upstream() {
    let world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, LAYER);
    let anyone = world.server.anonymous();
    let digest = sha256(&image.layer);
    for (name, wanted) in [("a", "GET"), ("b", "HEAD")] {
        anyone
            .get(&format!("/v2/far.example/{name}/manifests/1.0"))
            .await
            .expect(200);
        world.fake.asked();
        let got = anyone
            .get(&format!("/v2/far.example/{name}/blobs/{digest}"))
            .await;
        assert!(got.expect(200).body == image.layer);
        let asked: Vec<_> = world
            .fake
            .asked()
            .into_iter()
            .map(|ask| ask.method)
            .collect();
        assert_eq!(asked, [wanted]);
    }
    // What was pushed here is shown to nobody because an upstream names it.
    let secret = b"nobody else's".to_vec();
    crate::harness::content::push_blob(&world.server.admin(), "own/repo", &secret).await;
    world
        .fake
        .bend(|ask, answer| match (ask.method.as_str(), answer.status) {
            ("HEAD", 404) => crate::harness::fake::Answer::new(200, "", vec![0; 13]),
            _ => answer,
        });
    let named = crate::harness::content::image(&image.config, &[&secret]);
    let bytes = crate::harness::content::bytes_of(&named);
    world
        .fake
        .manifest("evil", crate::harness::content::OCI_MANIFEST, &bytes);
    anyone
        .get("/v2/far.example/a/manifests/evil")
        .await
        .expect(200);
    let got = anyone
        .get(&format!("/v2/far.example/a/blobs/{}", sha256(&secret)))
        .await;
    assert_eq!(got.status, 404, "{}", got.text());
}
