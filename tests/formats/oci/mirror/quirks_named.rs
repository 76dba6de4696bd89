//! Images whose descriptors stand in a field for the other kind, from a registry: buildkit's cache above all. The media type is
//! a hint; what the registry has decides.

use serde_json::{Value, json};

use crate::formats::oci::mirror::quirks::World;
use crate::formats::oci::named::{As, Shape, shapes, whole};
use crate::harness::content::{OCI_MANIFEST, descriptor, sha256};
use crate::harness::damage;
use crate::harness::fake::{Answer, Fake};
use crate::harness::text_of;

/// The shape's content under the tag `t`, and nothing else.
fn fill(fake: &Fake, shape: &Shape) {
    fake.clear();
    for (how, media_type, bytes) in &shape.content {
        if *how == As::Blob {
            fake.blob(bytes);
        } else {
            fake.manifest("", media_type, bytes);
        }
    }
    fake.manifest("t", shape.media_type, &shape.top);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_in_the_wrong_field_is_mirrored() {
    let world = World::start().await;
    let anyone = world.target.anonymous();
    for shape in shapes() {
        fill(&world.fake, &shape);
        for no_head in [false, true] {
            // HEAD of a blob may say neither yes nor no.
            world.fake.bend(move |ask, answer| {
                let is_refused = no_head && ask.method == "HEAD" && ask.path.contains("/blobs/");
                if is_refused {
                    Answer::empty(405)
                } else {
                    answer
                }
            });
            let name = world.name();
            let output = world.mirror(&name, ":t", &[]);
            assert!(
                output.status.success(),
                "{}: {}",
                shape.what,
                text_of(&output)
            );
            whole(&anyone, &name, &shape).await.unwrap();
        }
        // Without one of them nothing comes, and what is missing is named.
        world.fake.straighten();
        for (_, _, bytes) in &shape.content {
            fill(&world.fake, &shape);
            world.fake.forget(&sha256(bytes));
            let name = world.name();
            let output = world.mirror(&name, ":t", &[]);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{}: {}",
                shape.what,
                text_of(&output)
            );
            assert!(
                text_of(&output).contains(&sha256(bytes)),
                "{}",
                text_of(&output)
            );
            assert_eq!(world.status(&name, "manifests/t").await, 404);
        }
    }
    let (code, report) = damage::check(&world.target.data(), &["--deep"]);
    assert_eq!(
        (code, &report["problems"]),
        (0, &serde_json::json!([])),
        "{report:#}"
    );
}

/// What an index lists as a manifest and the registry has as a blob alone: the rest comes, and the text names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_there_as_a_blob_alone_is_named() {
    let world = World::start().await;
    let image = world.fake.image("", "amd64", 1, 3000);
    let other = crate::harness::content::bytes_of(&json!({"schemaVersion": 2, "config": {}}));
    let digest = world.fake.blob(&other);
    let list = [
        descriptor(OCI_MANIFEST, &image.bytes),
        descriptor(OCI_MANIFEST, &other),
    ];
    let index = world.fake.index("many", &list);
    let name = world.name();
    let output = world.mirror(&name, ":many", &["--json"]);
    assert!(output.status.success(), "{}", text_of(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = report["warnings"].as_array().unwrap();
    let named = |text: &&Value| text.as_str().unwrap().contains(&digest);
    assert_eq!(told.iter().filter(named).count(), 1, "{report}");
    assert!(
        told[0].as_str().unwrap().contains("as a blob only"),
        "{report}"
    );
    assert_eq!(world.body(&name, "manifests/many").await, index);
    assert_eq!(
        world
            .body(&name, &format!("manifests/{}", image.digest))
            .await,
        image.bytes
    );
    assert_eq!(world.body(&name, &format!("blobs/{digest}")).await, other);
    assert_eq!(
        world.status(&name, &format!("manifests/{digest}")).await,
        404
    );
}
