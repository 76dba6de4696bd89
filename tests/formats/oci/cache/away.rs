//! An upstream that does not answer costs what is here nothing, and what is not here an error at once.

use std::time::Duration;

use super::{World, timed};
use crate::harness::content::sha256;
use crate::harness::fake::Answer;
use crate::harness::{SOON, dryport, run_ok, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_is_served_old_and_says_so() {
    let world = World::start(&["--freshness", "0s"]).await;
    for (status, why) in [
        (500, "500"),
        (429, "takes its time"),
        (401, "refuses"),
        (403, "403"),
        (404, "does not have it"),
    ] {
        let tag = format!("of-{status}");
        let image = world.fake.image(&tag, "amd64", status, 5_000);
        world.get(&format!("manifests/{tag}")).await.expect(200);
        let blob = format!("blobs/{}", sha256(&image.layer));
        world.get(&blob).await.expect(200);
        world.fake.bend(move |_, _| Answer::empty(status as u16));
        let (got, took) = timed(world.get(&format!("manifests/{tag}"))).await;
        let got = got.expect(200);
        assert_eq!(got.body, image.bytes);
        let warning = got.header("warning").to_owned();
        assert!(
            warning.starts_with("299 - \"this may be old: "),
            "{status}: {warning}"
        );
        assert!(warning.contains(why), "{status}: {warning}");
        assert!(!got.header("age").is_empty());
        assert!(took < Duration::from_millis(1500), "{status}: {took:?}");
        let got = world.get(&blob).await.expect(200);
        assert_eq!(got.header("warning"), "", "a digest means what it means");
        world.fake.straighten();
        // What was held or left alone is asked again.
        until("the upstream is up again", SOON, async || {
            world.get(&format!("manifests/up-{status}")).await.status == 404
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_holds_nobody_up() {
    let world = World::start(&["--freshness", "0s"]).await;
    let image = world.fake.image("1.0", "amd64", 1, 5_000);
    world.get("manifests/1.0").await.expect(200);
    // Addresses for documentation lead nowhere (RFC 5737).
    world.set(&["--url", "http://192.0.2.1:5000"]);
    for n in 0..3 {
        let (got, took) = timed(world.get("manifests/1.0")).await;
        let got = got.expect(200);
        assert_eq!(got.body, image.bytes);
        assert!(got.header("warning").contains("may be old"), "{n}");
        assert!(took < Duration::from_millis(1800), "{n}: {took:?}");
        let (got, took) = timed(world.get("manifests/2.0")).await;
        let refused = got.refused(503, "UNAVAILABLE");
        assert!(!refused.header("retry-after").is_empty());
        assert!(took < Duration::from_millis(3500), "{n}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_switched_off_is_not_asked() {
    let world = World::start(&["--freshness", "0s"]).await;
    let image = world.fake.image("1.0", "amd64", 1, 5_000);
    world.get("manifests/1.0").await.expect(200);
    world.set(&["--offline", "true"]);
    world.asked();
    let got = world.get("manifests/1.0").await.expect(200);
    assert!(
        got.header("warning").contains("switched off"),
        "{}",
        got.header("warning")
    );
    let refused = world.get("manifests/2.0").await.refused(503, "UNAVAILABLE");
    assert!(
        refused.text().contains("switched off"),
        "{}",
        refused.text()
    );
    world
        .get(&format!("blobs/{}", sha256(&image.layer)))
        .await
        .refused(503, "UNAVAILABLE");
    let tags = world.get("tags/list").await.expect(200);
    assert_eq!(tags.json()["tags"], serde_json::json!(["1.0"]));
    assert!(tags.header("warning").contains("switched off"));
    assert_eq!(world.asked(), Vec::<String>::new());
    world.set(&["--offline", "false"]);
    world
        .get(&format!("blobs/{}", sha256(&image.layer)))
        .await
        .expect(200);
}

/// What an upstream brought stays when the upstream is removed, and after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_stays() {
    let mut world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, 5_000);
    world.get("manifests/1.0").await.expect(200);
    let blob = format!("blobs/{}", sha256(&image.layer));
    world.get(&blob).await.expect(200);
    world.server.kill();
    world.server.restart().await;
    world.asked();
    world.get(&blob).await.expect(200);
    world.get("manifests/1.0").await.expect(200);
    assert_eq!(
        world.asked(),
        ["HEAD manifests/1.0"],
        "it is compared once after a start"
    );
    let dir = world.server.dir();
    run_ok(&["upstream", "remove", "--data", &dir, "far"]);
    world.get("manifests/1.0").await.expect(200);
    world.get(&blob).await.expect(200);
    assert_eq!(world.asked(), Vec::<String>::new());
    let check = dryport(&["check", "--data", &dir, "--deep"])
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        crate::harness::text_of(&check)
    );
}
