//! Upstreams that send what they should not: wrong bytes, refusals, codings of their own. What may be right the next time is
//! asked for again, and what is told names the host, the content and what to do.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::content::sha256;
use crate::fake::Answer;
use crate::harness::text_of;
use crate::quirks::World;

/// The first byte is another one.
fn bent(mut answer: Answer) -> Answer {
    if let Some(first) = answer.body.first_mut() {
        *first ^= 1;
    }
    answer
}

/// What comes whole and has another digest is asked for once more, whatever it is; then the text says what came.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_asked_for_once_more() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 100_000);
    let index = {
        let child = crate::content::descriptor(crate::content::OCI_MANIFEST, &image.bytes);
        world.fake.index("many", &[child])
    };
    assert!(!index.is_empty());
    for (what, digest, bytes) in [
        ("blob", sha256(&image.layer), image.layer.clone()),
        ("blob", sha256(&image.config), image.config.clone()),
        ("manifest", image.digest.clone(), image.bytes.clone()),
    ] {
        for wrong in [1, 2] {
            let (name, path) = (world.name(), format!("/{digest}"));
            let sent = AtomicUsize::new(0);
            world.fake.bend(move |ask, answer| {
                let is_it = ask.method == "GET" && ask.path.ends_with(&path);
                if is_it && sent.fetch_add(1, Ordering::Relaxed) < wrong {
                    return bent(answer);
                }
                answer
            });
            world.fake.asked();
            let output = world.mirror(&name, ":many", &[]);
            let told = text_of(&output);
            let asked = world.fake.asked();
            let asked = asked.iter().filter(|ask| ask.method == "GET");
            let asked = asked.filter(|ask| ask.path.ends_with(&digest)).count();
            assert_eq!(asked, 2, "{what}: {told}");
            let got = sha256(&bent(Answer::new(200, "", bytes.clone())).body);
            for part in ["127.0.0.1:", what, &digest, &got] {
                assert!(told.contains(part), "{part}: {told}");
            }
            if wrong == 1 {
                assert!(output.status.success(), "{what}: {told}");
                assert_eq!(world.body(&name, "manifests/many").await, index);
            } else {
                assert_eq!(output.status.code(), Some(1), "{what}: {told}");
                assert!(told.contains("run the command again"), "{told}");
                assert_eq!(world.status(&name, "manifests/many").await, 404);
            }
        }
    }
}
