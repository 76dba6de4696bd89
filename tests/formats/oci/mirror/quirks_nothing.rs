//! Manifests that say nothing in a field, in the ways of several languages: what other registries take is taken, byte for byte,
//! pushed and mirrored alike; what is refused names the descriptor and its field.

use serde_json::{Value, json};

use crate::formats::oci::mirror::quirks::World;
use crate::harness::content::{
    OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, bytes_of, descriptor, push_blob, sha256,
};
use crate::harness::fake::Answer;
use crate::harness::text_of;

/// What a manifest may say in place of nothing: where, and what.
fn nothings() -> Vec<(&'static str, Value)> {
    vec![
        ("/annotations", json!({"x": null, "y": "z"})),
        ("/annotations", json!({"x": null})),
        ("/layers/0/urls", json!([null])),
        ("/layers/0/annotations", json!({"x": null})),
        ("/layers/0/size", json!(null)),
        ("/layers/0/size", json!(0)),
        ("/config/size", json!(null)),
        ("/config/size", json!(0)),
        ("/config/platform", json!({"os": null})),
        ("/subject/size", json!(null)),
    ]
}

/// What is refused, and the text that says where.
fn refusals() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/subject", json!({}), "in subject: it has no digest"),
        (
            "/subject",
            json!({"digest": null}),
            "in subject: it has no digest",
        ),
        (
            "/subject",
            json!({"digest": "x", "size": 1}),
            "in subject: ",
        ),
        ("/subject", json!([]), "in subject: "),
        ("/config", json!({}), "in config: it has no digest"),
        ("/layers/0", json!({}), "in layers[0]: it has no digest"),
        (
            "/layers/0",
            json!(null),
            "in layers[0]: it is no descriptor",
        ),
        ("/layers/0/digest", json!("sha256:12"), "in layers[0]: "),
        (
            "/layers/0/size",
            json!(-1),
            "in layers[0]: its size is negative",
        ),
        (
            "/layers/0/size",
            json!("1"),
            "in layers[0]: its size has the wrong form",
        ),
        (
            "/layers/0/urls",
            json!([1]),
            "in layers[0]: its urls has the wrong form",
        ),
        (
            "/annotations",
            json!({"x": 1}),
            "its annotations has the wrong form",
        ),
    ]
}

/// The value with another one at this path; null takes the field away where `away` is set.
fn with(value: &Value, path: &str, new: &Value, away: bool) -> Vec<u8> {
    let mut value = value.clone();
    let (above, field) = path.rsplit_once('/').unwrap();
    let above = value.pointer_mut(above).unwrap();
    match above {
        Value::Array(list) => list[field.parse::<usize>().unwrap()] = new.clone(),
        Value::Object(map) if away && new.is_null() => drop(map.remove(field)),
        Value::Object(map) => drop(map.insert(field.to_owned(), new.clone())),
        _ => panic!("{path}"),
    }
    bytes_of(&value)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_nothing_is_taken_and_what_is_wrong_is_named() {
    let world = World::start().await;
    let admin = world.target.admin();
    let image = world.fake.image("v1", "amd64", 1, 3000);
    let mut value = image.value.clone();
    value["subject"] = descriptor(OCI_MANIFEST, &image.bytes);
    value["annotations"] = json!({});
    value["artifactType"] = json!("application/vnd.example.note");
    push_blob(&admin, "pushed", &image.config).await;
    push_blob(&admin, "pushed", &image.layer).await;
    for (path, new) in nothings() {
        for away in [false, true]
            .into_iter()
            .take(1 + usize::from(new.is_null()))
        {
            let bytes = with(&value, path, &new, away);
            let (digest, what) = (sha256(&bytes), format!("{path} {new}"));
            let to = format!("/v2/pushed/manifests/{digest}");
            let kind = [("content-type", OCI_MANIFEST)];
            admin.send("PUT", &to, &kind, &bytes).await.expect(201);
            assert_eq!(admin.get(&to).await.expect(200).body, bytes, "{what}");
            let list = format!("/v2/pushed/referrers/{}", image.digest);
            let list: Value =
                serde_json::from_slice(&admin.get(&list).await.expect(200).body).unwrap();
            let entries = list["manifests"].as_array().unwrap().iter();
            let entry = entries
                .clone()
                .find(|entry| entry["digest"] == json!(digest))
                .unwrap();
            let none = Value::Null;
            assert!(
                entry.pointer("/annotations/x").unwrap_or(&none).is_null(),
                "{entry}"
            );
            world.fake.manifest("odd", OCI_MANIFEST, &bytes);
            let name = world.name();
            let output = world.mirror(&name, ":odd", &[]);
            assert!(output.status.success(), "{what}: {}", text_of(&output));
            assert_eq!(world.body(&name, "manifests/odd").await, bytes, "{what}");
            for blob in [&image.layer, &image.config] {
                let got = world.body(&name, &format!("blobs/{}", sha256(blob))).await;
                assert_eq!(&got, blob, "{what}");
            }
        }
    }
    for (path, new, says) in refusals() {
        let bytes = with(&value, path, &new, false);
        let to = format!("/v2/pushed/manifests/{}", sha256(&bytes));
        let kind = [("content-type", OCI_MANIFEST)];
        let reply = admin.send("PUT", &to, &kind, &bytes).await.expect(400);
        assert!(
            reply.text().contains(says),
            "{path} {new}: {}",
            reply.text()
        );
        world.fake.manifest("odd", OCI_MANIFEST, &bytes);
        let output = world.mirror(&world.name(), ":odd", &[]);
        let told = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains(says) && told.contains(&sha256(&bytes)),
            "{path} {new}: {told}"
        );
    }
}

/// An index whose descriptors give no size, and layers of no bytes.
#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_are_not_given_are_asked_for() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 30_000);
    let empty = world.fake.blob(b"");
    let mut value = image.value.clone();
    let sizeless =
        |bytes: &[u8], media_type: &str| json!({"mediaType": media_type, "digest": sha256(bytes)});
    value["config"] = sizeless(&image.config, OCI_CONFIG);
    value["layers"] = json!([
        sizeless(&image.layer, OCI_LAYER),
        descriptor(OCI_LAYER, b""),
        descriptor(OCI_LAYER, &image.layer)
    ]);
    let bytes = bytes_of(&value);
    world.fake.manifest("", OCI_MANIFEST, &bytes);
    let index = world.fake.index("many", &[sizeless(&bytes, OCI_MANIFEST)]);
    for no_head in [false, true] {
        world.fake.bend(move |ask, answer| {
            if no_head && ask.method == "HEAD" {
                return Answer::empty(405);
            }
            answer
        });
        let name = world.name();
        let output = world.mirror(&name, ":many", &[]);
        assert!(output.status.success(), "{}", text_of(&output));
        assert_eq!(world.body(&name, "manifests/many").await, index);
        assert_eq!(world.body(&name, &format!("blobs/{empty}")).await, b"");
        let got = world
            .body(&name, &format!("blobs/{}", sha256(&image.layer)))
            .await;
        assert_eq!(got, image.layer);
    }
    world.fake.straighten();
    // One that is not there is named.
    world.fake.forget(&sha256(&image.config));
    let output = world.mirror(&world.name(), ":many", &[]);
    let told = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&sha256(&image.config)), "{told}");
}

/// Entries of a list of referrers that name nothing are counted as missing; the others come.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_entry_of_a_list_keeps_no_good_one() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 3000);
    let note = world.fake.referrer(&image.bytes, "one");
    let good = descriptor(OCI_MANIFEST, &note);
    let list_tag = crate::harness::fake::tag_of(&image.digest, "");
    for bad in [
        json!({}),
        json!(null),
        json!(7),
        json!({"digest": "sha256:1", "size": 1}),
        json!({"digest": null}),
    ] {
        let list =
            json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [bad, good, bad]})
                .to_string();
        for by_tag in [false, true] {
            let (body, tag) = (list.clone(), list_tag.clone());
            let api = format!("/referrers/{}", image.digest);
            world.fake.bend(move |ask, answer| {
                let is_list = if by_tag {
                    ask.manifest(&tag)
                } else {
                    ask.path.contains(&api)
                };
                if is_list {
                    return Answer::new(200, OCI_INDEX, body.as_str());
                }
                answer
            });
            let name = world.name();
            let output = world.mirror(&name, ":v1", &["--json"]);
            let told = text_of(&output);
            assert_eq!(output.status.code(), Some(6), "{bad}: {told}");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let missing = report["missing_evidence"].as_array().unwrap();
            assert_eq!(missing.len(), 1, "{report}");
            assert!(
                missing[0]["what"]
                    .as_str()
                    .unwrap()
                    .starts_with("2 entries"),
                "{report}"
            );
            let status = world
                .status(&name, &format!("manifests/{}", sha256(&note)))
                .await;
            assert_eq!(status, 200, "{bad} {by_tag}: {told}");
        }
    }
}
