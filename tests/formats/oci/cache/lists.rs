//! Lists: tags and what refers to a manifest, of here and of there.

use serde_json::{Value, json};

use super::{World, path};
use crate::harness::content::{OCI_MANIFEST, descriptor, sha256};
use crate::harness::fake::{Answer, tag_of};
use crate::harness::{SOON, until};

fn tags_of(
    names: &'static [&'static str],
) -> impl Fn(&crate::harness::fake::Ask, Answer) -> Answer {
    move |ask, answer| {
        if ask.path.contains("/tags/list") {
            return Answer::new(
                200,
                "application/json",
                json!({"name": "x", "tags": names}).to_string(),
            );
        }
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_known_after_the_first_question() {
    let world = World::start(&[]).await;
    world.fake.image("mine", "amd64", 1, 5_000);
    world.fake.bend(tags_of(&["b", "a", "c", "not a tag"]));
    let tags = async || world.get("tags/list").await.expect(200).json()["tags"].clone();
    assert_eq!(tags().await, json!(["a", "b", "c"]));
    assert_eq!(world.asked(), ["GET tags/list?n=1000"]);
    world.get("manifests/mine").await.expect(200);
    world.asked();
    assert_eq!(tags().await, json!(["a", "b", "c", "mine"]));
    let first = world.get("tags/list?n=2").await.expect(200);
    assert_eq!(first.json()["tags"], json!(["a", "b"]));
    let rest = world
        .server
        .anonymous()
        .get(&first.next().expect("more"))
        .await
        .expect(200);
    assert_eq!(
        (rest.json()["tags"].clone(), rest.next()),
        (json!(["c", "mine"]), None)
    );
    assert_eq!(world.asked(), Vec::<String>::new());
    // What is no longer fresh is answered at once, and asked beside.
    world.set(&["--freshness", "0s"]);
    world.fake.bend(tags_of(&["d"]));
    until("the new list", SOON, async || {
        tags().await == json!(["d", "mine"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_many_pages_end() {
    let world = World::start(&[]).await;
    world.fake.bend(|ask, answer| {
        if !ask.path.contains("/tags/list") {
            return answer;
        }
        let n: u32 = ask
            .path
            .rsplit("last=")
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let body = json!({"tags": [format!("t{n}")]}).to_string();
        let answer = Answer::new(200, "application/json", body);
        if ask.path.contains("/short/") && n == 3 {
            return answer;
        }
        let name = ask.path.split("/tags").next().unwrap_or_default();
        let host = if name.contains("/elsewhere/") {
            "http://192.0.2.1"
        } else {
            ""
        };
        let next = format!("<{host}{name}/tags/list?last={}>; rel=\"next\"", n + 1);
        answer.with("Link", next)
    });
    let anyone = world.server.anonymous();
    let tags = async |name: &str| {
        let url = format!("/v2/far.example/{name}/app/tags/list");
        anyone.get(&url).await
    };
    let short = tags("short").await.expect(200);
    assert_eq!(short.json()["tags"], json!(["t0", "t1", "t2", "t3"]));
    for (name, why) in [
        ("endless", "more than 200 pages"),
        ("elsewhere", "at another host"),
    ] {
        let refused = tags(name).await.refused(502, "UNKNOWN");
        assert!(refused.text().contains(why), "{}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refers_to_an_image_is_listed_and_pulled() {
    for by_tag in [false, true] {
        let world = World::start(&[]).await;
        let image = world.fake.image("1.0", "amd64", 1, 5_000);
        let note = world.fake.referrer(&image.bytes, "checked");
        let mut of_note = descriptor(OCI_MANIFEST, &note);
        of_note["artifactType"] = json!("application/vnd.example.note");
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [of_note]});
        if by_tag {
            world
                .fake
                .index(&tag_of(&image.digest, ""), &[of_note.clone()]);
        } else {
            let text = index.to_string();
            world.fake.bend(move |ask, answer| {
                if ask.path.contains("/referrers/") {
                    let kind = "application/vnd.oci.image.index.v1+json";
                    return Answer::new(200, kind, text.as_str());
                }
                answer
            });
        }
        world.get("manifests/1.0").await.expect(200);
        let rest = format!("referrers/{}", image.digest);
        let listed = async |rest: &str| -> Vec<Value> {
            let list = world.get(rest).await.expect(200).json();
            list["manifests"].as_array().unwrap().clone()
        };
        assert_eq!(listed(&rest).await, [of_note.clone()]);
        let filtered = format!("{rest}?artifactType=application/vnd.example.note");
        assert_eq!(listed(&filtered).await.len(), 1);
        assert_eq!(listed(&format!("{rest}?artifactType=other")).await.len(), 0);
        let got = world
            .get(&format!("manifests/{}", sha256(&note)))
            .await
            .expect(200);
        assert_eq!(got.body, note);
        world.asked();
        assert_eq!(listed(&rest).await, [of_note]);
        assert_eq!(world.asked(), Vec::<String>::new());
        let unheard = format!("referrers/sha256:{}", "1".repeat(64));
        assert_eq!(listed(&unheard).await.len(), 0, "nobody has that");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signature_tags_come_through() {
    let world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, 5_000);
    let tag = tag_of(&image.digest, ".sig");
    let signature = world.fake.image(&tag, "amd64", 2, 300);
    let got = world
        .server
        .anonymous()
        .get(&path(&format!("manifests/{tag}")))
        .await;
    assert_eq!(got.expect(200).body, signature.bytes);
}
