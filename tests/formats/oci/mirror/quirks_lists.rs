//! Lists of referrers in forms that are rare and right, or wrong and not to be taken for none.

use serde_json::{Value, json};

use crate::formats::oci::mirror::quirks::World;
use crate::harness::content::{OCI_INDEX, OCI_MANIFEST, descriptor, sha256, sha512};
use crate::harness::fake::Answer;
use crate::harness::text_of;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_whatever_the_form_of_its_link() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 3000);
    let notes = ["one", "two"].map(|text| world.fake.referrer(&image.bytes, text));
    let page = |note: &[u8]| {
        let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, note)]});
        Answer::new(200, OCI_INDEX, list.to_string())
    };
    let pages = [page(&notes[0]), page(&notes[1])];
    let path = format!("/v2/team/app/referrers/{}?last=1", image.digest);
    for (form, whole) in [
        ("<PATH>; rel=\"next\"", true),
        ("<PATH>; REL=\"NEXT\"", true),
        ("<PATH>; rel=\"next last\"", true),
        ("<PATH> ; rel = next", true),
        (
            "</first>; rel=\"first\"\r\nLink: <PATH>; rel=\"next\"",
            true,
        ),
        ("<PATH; rel=\"next\"", false),
    ] {
        let (pages, link) = (pages.clone(), form.replace("PATH", &path));
        world.fake.bend(move |ask, answer| {
            if !ask.path.contains("/referrers/") {
                answer
            } else if ask.path.contains("last=1") {
                pages[1].clone()
            } else {
                pages[0].clone().with("Link", link.as_bytes())
            }
        });
        let name = world.name();
        let output = world.mirror(&name, ":v1", &[]);
        let code = if whole { 0 } else { 6 };
        assert_eq!(
            output.status.code(),
            Some(code),
            "{form}: {}",
            text_of(&output)
        );
        for (note, there) in notes.iter().zip([true, whole]) {
            let status = world
                .status(&name, &format!("manifests/{}", sha256(note)))
                .await;
            assert_eq!(status == 200, there, "{form}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_is_not_taken_for_an_empty_one() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 3000);
    let note = world.fake.referrer(&image.bytes, "one");
    let entry = descriptor(OCI_MANIFEST, &note);
    let list = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let errors = json!({"errors": [{"code": "UNAUTHORIZED"}]}).to_string();
    let cases: Vec<(&str, String, &str, i32)> = vec![
        (
            "application/json",
            list[..list.len() - 9].to_owned(),
            "cut short",
            6,
        ),
        (
            "",
            list[..list.len() - 9].to_owned(),
            "cut short, without a type",
            6,
        ),
        ("application/json", errors.clone(), "errors", 6),
        (OCI_INDEX, errors, "errors as an index", 6),
        (
            "application/json",
            json!([entry]).to_string(),
            "a bare array",
            6,
        ),
        (
            "application/json",
            json!({"referrers": [entry]}).to_string(),
            "an older form",
            6,
        ),
        (
            "text/html",
            "<html><body>Welcome</body></html>".into(),
            "a page",
            0,
        ),
        ("application/json", "{}".into(), "nothing", 0),
    ];
    for (media_type, body, what, code) in cases {
        world.fake.bend(move |ask, answer| {
            if ask.path.contains("/referrers/") {
                return Answer::new(200, media_type, body.as_str());
            }
            answer
        });
        let name = world.name();
        let output = world.mirror(&name, ":v1", &["--json"]);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{what}: {}",
            text_of(&output)
        );
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            report["missing_evidence"]
                .as_array()
                .is_some_and(|m| !m.is_empty()),
            code == 6,
            "{report}"
        );
        assert_eq!(
            world.body(&name, "manifests/v1").await,
            image.bytes,
            "{what}"
        );
    }
}

/// A registry that names what lies under a tag by a sha512 digest: what refers to it names it by sha256.
#[tokio::test(flavor = "multi_thread")]
async fn under_a_tag_an_image_is_what_refers_to_it_says() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 3000);
    let note = world.fake.referrer(&image.bytes, "one");
    let (long, entry) = (sha512(&image.bytes), descriptor(OCI_MANIFEST, &note));
    let api = format!("/referrers/{}", image.digest);
    world.fake.bend(move |ask, answer| {
        if ask.path.contains(&api) {
            let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
            return Answer::new(200, OCI_INDEX, list.to_string());
        }
        if ask.manifest("v1") {
            return answer.with("Docker-Content-Digest", long.as_str());
        }
        answer
    });
    let name = world.name();
    let output = world.mirror(&name, ":v1", &[]);
    assert!(output.status.success(), "{}", text_of(&output));
    for digest in [image.digest.clone(), sha256(&note)] {
        assert_eq!(
            world.status(&name, &format!("manifests/{digest}")).await,
            200
        );
    }
}
