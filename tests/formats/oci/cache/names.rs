//! Which upstream a name means: by its path, by `?ns=`, or bare; and what wins over it.

use serde_json::json;

use super::{World, add_upstream};
use crate::harness::content::{push_image, sha256};
use crate::harness::fake::Fake;
use crate::harness::{Server, run, run_ok, text_of};

#[tokio::test(flavor = "multi_thread")]
async fn by_namespace_and_bare() {
    let world = World::start(&["--ns", "docker.io", "--default", "--library-prefix", "on"]).await;
    let image = world.fake.image("1.0", "amd64", 1, 5_000);
    let anyone = world.server.anonymous();
    for (url, there) in [
        ("/v2/alpine/manifests/1.0?ns=docker.io", "library/alpine"),
        (
            "/v2/library/busybox/manifests/1.0?ns=docker.io",
            "library/busybox",
        ),
        ("/v2/some/one/manifests/1.0", "some/one"),
        ("/v2/bare/manifests/1.0", "library/bare"),
        ("/v2/far.example/one/manifests/1.0", "library/one"),
        ("/v2/far.example/a/two/manifests/1.0", "a/two"),
    ] {
        let got = anyone.get(url).await.expect(200);
        assert_eq!(got.body, image.bytes, "{url}");
        let asked = world.fake.asked();
        assert_eq!(asked[0].path, format!("/v2/{there}/manifests/1.0"), "{url}");
        let said = if url.contains("ns=") { "docker.io" } else { "" };
        assert_eq!(got.header("oci-namespace"), said, "{url}");
    }
    // The same repository, by another spelling.
    anyone
        .get("/v2/library/alpine/manifests/1.0?ns=docker.io")
        .await
        .expect(200);
    assert_eq!(world.fake.asked().len(), 0);
    let blob = format!("/v2/alpine/blobs/{}?ns=docker.io", sha256(&image.layer));
    assert!(anyone.get(&blob).await.expect(200).body == image.layer);
    // A host that nobody named is not the default one's: its images are other people's.
    anyone
        .get("/v2/some/other/manifests/1.0?ns=ghcr.example")
        .await
        .refused(404, "NAME_UNKNOWN");
    // What an operator did not name is never asked.
    world.set(&["--default", "false"]);
    world.fake.asked();
    let url = format!("/v2/x/manifests/1.0?ns=127.0.0.2:{}", world.fake.port);
    anyone.get(&url).await.refused(404, "NAME_UNKNOWN");
    anyone
        .get("/v2/some/other/manifests/1.0")
        .await
        .refused(404, "NAME_UNKNOWN");
    assert_eq!(world.fake.asked().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_or_mirrored_wins() {
    let world = World::start(&["--default"]).await;
    world.fake.image("1.0", "amd64", 1, 5_000);
    world.fake.image("2.0", "amd64", 2, 5_000);
    let admin = world.server.admin();
    push_image(&admin, "far.example/pushed", "1.0", 9).await;
    push_image(&admin, "pushed", "1.0", 9).await;
    let anyone = world.server.anonymous();
    for name in ["far.example/pushed", "pushed"] {
        anyone
            .get(&format!("/v2/{name}/manifests/1.0"))
            .await
            .expect(200);
        anyone
            .get(&format!("/v2/{name}/manifests/2.0"))
            .await
            .refused(404, "MANIFEST_UNKNOWN");
        let tags = anyone
            .get(&format!("/v2/{name}/tags/list"))
            .await
            .expect(200);
        assert_eq!(tags.json()["tags"], json!(["1.0"]));
    }
    assert_eq!(world.asked(), Vec::<String>::new());
    let (dir, source) = (world.server.dir(), world.fake.source(":1.0"));
    run_ok(&[
        "mirror",
        "--data",
        &dir,
        &source,
        "--to",
        "far.example/copied",
    ]);
    world.asked();
    anyone
        .get("/v2/far.example/copied/manifests/2.0")
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    assert_eq!(world.asked(), Vec::<String>::new());
    // A cache takes no images, like a mirror.
    anyone
        .get("/v2/far.example/kept/manifests/1.0")
        .await
        .expect(200);
    let image = crate::harness::content::image(b"{}", &[]);
    let bytes = crate::harness::content::bytes_of(&image);
    let kind = [("content-type", crate::harness::content::OCI_MANIFEST)];
    let put = admin
        .send("PUT", "/v2/far.example/kept/manifests/mine", &kind, &bytes)
        .await;
    assert!((400..500).contains(&put.status), "{}", put.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_names_are_asked_for() {
    let world = World::start(&["--allow", "team/*", "--deny", "team/secret"]).await;
    world.fake.image("1.0", "amd64", 1, 5_000);
    let anyone = world.server.anonymous();
    anyone
        .get("/v2/far.example/team/app/manifests/1.0")
        .await
        .expect(200);
    for name in ["team/secret", "other/app"] {
        let url = format!("/v2/far.example/{name}/manifests/1.0");
        let refused = anyone.get(&url).await.refused(403, "DENIED");
        assert!(
            refused.text().contains("may not be asked for this name"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(world.asked(), ["GET manifests/1.0"]);
}

/// Who may not read a name has nothing fetched for it.
#[tokio::test(flavor = "multi_thread")]
async fn readers_fill_and_nobody_else() {
    let fake = Fake::start();
    fake.image("1.0", "amd64", 1, 5_000);
    let server = Server::start_with(&["--mode", "standalone"], &[]).await;
    add_upstream(&server, ("far", "far.example"), fake.port, &[]);
    server.add_user(
        "ann",
        "correct horse battery",
        &["--role", "reader", "--on", "far.example/team"],
    );
    let ann = server.client(Some(("ann", "correct horse battery")));
    let url = "/v2/far.example/team/app/manifests/1.0";
    server
        .anonymous()
        .get(url)
        .await
        .refused(401, "UNAUTHORIZED");
    assert!(ann.get("/v2/far.example/other/manifests/1.0").await.status >= 400);
    assert_eq!(fake.asked().len(), 0);
    ann.get(url).await.expect(200);
    assert_eq!(fake.asked().len(), 1);
    let dir = server.dir();
    let output = run(&["audit", "list", "--data", &dir, "--json"]);
    let told = text_of(&output);
    assert!(told.contains("far.example/team/app"), "{told}");
}

/// A prefix within another is another upstream's, whatever leads there.
#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_within_a_prefix_is_its_own() {
    let world = World::start(&["--ns", "far.example"]).await;
    let inner = Fake::start();
    world.fake.image("1.0", "amd64", 1, 5_000);
    let image = inner.image("1.0", "amd64", 2, 5_000);
    world.add("inner", "far.example/a", inner.port, &[]);
    let anyone = world.server.anonymous();
    let got = anyone.get("/v2/far.example/a/b/manifests/1.0").await;
    assert_eq!(got.expect(200).body, image.bytes);
    anyone
        .get("/v2/a/c/manifests/1.0?ns=far.example")
        .await
        .refused(404, "NAME_UNKNOWN");
    assert_eq!(world.asked(), Vec::<String>::new());
}

/// Who pushes to a name while it is asked for keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_not_overwritten_by_what_comes_late() {
    let world = World::start(&[]).await;
    world.fake.image("1.0", "amd64", 1, 5_000);
    world.fake.bend(|_, answer| {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        answer
    });
    let anyone = world.server.anonymous();
    let pull = tokio::spawn(async move {
        anyone
            .get("/v2/far.example/team/app/manifests/1.0")
            .await
            .status
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let admin = world.server.admin();
    push_image(&admin, "far.example/team/app", "1.0", 9).await;
    let pushed = admin.get("/v2/far.example/team/app/manifests/1.0").await;
    let pushed = pushed.expect(200).body;
    assert_eq!(pull.await.unwrap(), 404);
    let after = admin.get("/v2/far.example/team/app/manifests/1.0").await;
    assert_eq!(after.expect(200).body, pushed);
}
