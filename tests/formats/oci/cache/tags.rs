//! Manifests: what a tag means is asked again when it is not fresh, by HEAD where that says it.

use super::{World, path};
use crate::harness::content::{OCI_MANIFEST, descriptor};
use crate::harness::run_ok;

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_comes_once_and_is_kept_as_it_is() {
    let world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, 5_000);
    assert!(!world.is_made());
    let got = world.get("manifests/1.0").await.expect(200);
    assert_eq!(got.body, image.bytes);
    assert_eq!(got.header("content-type"), OCI_MANIFEST);
    assert_eq!(got.header("docker-content-digest"), image.digest);
    assert_eq!(got.header("warning"), "");
    let asked = world.asked();
    let manifests: Vec<_> = asked.iter().filter(|a| a.contains("manifests/")).collect();
    assert_eq!(manifests, ["GET manifests/1.0"], "{asked:?}");
    for reference in ["1.0", &image.digest] {
        let got = world
            .get(&format!("manifests/{reference}"))
            .await
            .expect(200);
        assert_eq!(got.body, image.bytes);
        let head = world
            .server
            .anonymous()
            .head(&path(&format!("manifests/{reference}")))
            .await;
        assert_eq!(
            head.expect(200).header("docker-content-digest"),
            image.digest
        );
    }
    assert_eq!(world.asked(), Vec::<String>::new(), "all of it was fresh");
    let dir = world.server.dir();
    let shown = run_ok(&["repo", "show", "--data", &dir, "far.example/team/app"]);
    assert!(shown.contains("cache"), "{shown}");
    // A client that asks by HEAD at first has the manifest brought, too.
    world.fake.image("2.0", "amd64", 2, 5_000);
    world
        .server
        .anonymous()
        .head(&path("manifests/2.0"))
        .await
        .expect(200);
    world.asked();
    world.get("manifests/2.0").await.expect(200);
    assert_eq!(world.asked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moved_is_found_by_head() {
    let world = World::start(&["--freshness", "0s"]).await;
    let first = world.fake.image("1.0", "amd64", 1, 5_000);
    world.get("manifests/1.0").await.expect(200);
    world.asked();
    world.get("manifests/1.0").await.expect(200);
    assert_eq!(world.asked(), ["HEAD manifests/1.0"], "it is the same");
    let second = world.fake.image("1.0", "amd64", 2, 5_000);
    let got = world.get("manifests/1.0").await.expect(200);
    assert_eq!(got.body, second.bytes);
    let wanted = [
        "HEAD manifests/1.0".to_owned(),
        format!("GET manifests/{}", second.digest),
    ];
    assert_eq!(world.asked(), wanted);
    // What it meant before is here by its digest.
    let before = world
        .get(&format!("manifests/{}", first.digest))
        .await
        .expect(200);
    assert_eq!(before.body, first.bytes);
    // A longer freshness counts at once.
    world.set(&["--freshness", "1h"]);
    world.get("manifests/1.0").await.expect(200);
    world.asked();
    world.get("manifests/1.0").await.expect(200);
    assert_eq!(world.asked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_head_says_no_digest_get_does() {
    let world = World::start(&["--freshness", "0s"]).await;
    world.fake.image("1.0", "amd64", 1, 5_000);
    world.get("manifests/1.0").await.expect(200);
    for status in [200, 405] {
        world.fake.bend(move |ask, mut answer| {
            if ask.method == "HEAD" {
                answer.status = status;
            }
            answer.without("docker-content-digest")
        });
        let second = world.fake.image("1.0", "amd64", u64::from(status), 5_000);
        world.asked();
        let got = world.get("manifests/1.0").await.expect(200);
        assert_eq!(got.body, second.bytes);
        assert_eq!(world.asked(), ["HEAD manifests/1.0", "GET manifests/1.0"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_asked_for_once_in_a_while_and_writes_nothing() {
    let world = World::start(&[]).await;
    for _ in 0..3 {
        let refused = world
            .get("manifests/none")
            .await
            .refused(404, "MANIFEST_UNKNOWN");
        assert!(
            refused.text().contains("upstream far does not have it"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(world.asked(), ["GET manifests/none"]);
    let blob = format!("blobs/sha256:{}", "0".repeat(64));
    world.get(&blob).await.refused(404, "BLOB_UNKNOWN");
    assert_eq!(world.asked(), Vec::<String>::new(), "no manifest names it");
    assert!(!world.is_made());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_sparse_and_only_what_is_asked_for_comes() {
    let world = World::start(&[]).await;
    let images =
        [("amd64", 1), ("arm64", 2)].map(|(arch, seed)| world.fake.image("", arch, seed, 5_000));
    let children = [0, 1].map(|n: usize| descriptor(OCI_MANIFEST, &images[n].bytes));
    let index = world.fake.index("many", &children);
    assert_eq!(world.get("manifests/many").await.expect(200).body, index);
    let one = format!("manifests/{}", images[1].digest);
    assert_eq!(world.get(&one).await.expect(200).body, images[1].bytes);
    let asked = world.asked();
    assert_eq!(
        asked,
        ["GET manifests/many".to_owned(), format!("GET {one}")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_are_one_request() {
    let world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, 5_000);
    world.fake.bend(|_, answer| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        answer
    });
    let anyone = world.server.anonymous();
    let asking =
        (0..30).map(|_| async { anyone.get(&path("manifests/1.0")).await.expect(200).body });
    for body in futures_util::future::join_all(asking).await {
        assert_eq!(body, image.bytes);
    }
    assert_eq!(world.asked(), ["GET manifests/1.0"]);
}
