//! Images whose descriptors stand in a field for the other kind, from a registry: buildkit's cache above all. The media type is
//! a hint; what the registry has decides.

use crate::content::sha256;
use crate::damage;
use crate::fake::{Answer, Fake};
use crate::harness::text_of;
use crate::named::{As, Shape, shapes, whole};
use crate::quirks::World;

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
