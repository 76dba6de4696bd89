//! Signatures and other referrers at upstreams that do not serve them as they should: the image comes whole all the same, and
//! what is missing is told.

use serde_json::{Value, json};

use crate::formats::oci::mirror::quirks::World;
use crate::harness::content::{OCI_INDEX, OCI_MANIFEST, bytes_of, descriptor, sha256};
use crate::harness::fake::{Answer, Ask, Image, tag_of};
use crate::harness::text_of;

type Answers = Vec<(&'static str, Answer)>;

/// An image, a document that refers to it, and a cosign signature.
struct Family {
    image: Image,
    note: Vec<u8>,
    signature: Image,
    sig_tag: String,
    list_tag: String,
}

fn family(world: &World) -> Family {
    world.fake.clear();
    let image = world.fake.image("v1", "amd64", 1, 3000);
    let note = world.fake.referrer(&image.bytes, "a note");
    let sig_tag = tag_of(&image.digest, ".sig");
    let signature = world.fake.image(&sig_tag, "amd64", 2, 300);
    let list_tag = tag_of(&image.digest, "");
    Family {
        image,
        note,
        signature,
        sig_tag,
        list_tag,
    }
}

fn is_api(ask: &Ask) -> bool {
    ask.path.contains("/referrers/")
}

/// Mirrors with `--json`; the exit code, the report, and all that was said.
fn report(world: &World, name: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    let output = world.mirror(name, ":v1", &[&["--json"], more].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report, text_of(&output))
}

async fn assert_whole(world: &World, name: &str, image: &Image, what: &str) {
    assert_eq!(
        world.body(name, "manifests/v1").await,
        image.bytes,
        "{what}"
    );
    let layer = format!("blobs/{}", sha256(&image.layer));
    assert_eq!(world.body(name, &layer).await, image.layer, "{what}");
}

fn challenge(text: &str) -> Answer {
    Answer::empty(401).with("WWW-Authenticate", text)
}

/// Answers of which nobody knows whether they hide a list, then those of registries that have no such API.
fn api_answers(port: u16) -> (Answers, Answers) {
    let bearer = format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\"");
    let scope = format!("{bearer},scope=\"repository:team/app:pull\",error=\"insufficient_scope\"");
    let page = "<html><body>not found</body></html>";
    let refused = vec![
        ("401 bare", Answer::empty(401)),
        ("401 Basic", challenge("Basic realm=\"x\"")),
        ("401 Bearer", challenge(&bearer)),
        ("401 insufficient_scope", challenge(&scope)),
        ("403", Answer::empty(403)),
        ("500", Answer::empty(500)),
        ("a redirect to nowhere", Answer::empty(302)),
        ("an empty body", Answer::new(200, "", "")),
        (
            "an empty body of the right type",
            Answer::new(200, OCI_INDEX, ""),
        ),
        (
            "half a body",
            Answer::new(200, OCI_INDEX, "{\"manifests\":["),
        ),
        ("an array", Answer::new(200, OCI_INDEX, "[]")),
    ];
    let absent = vec![
        ("400", Answer::empty(400)),
        ("404", Answer::empty(404)),
        ("404 of a page", Answer::new(404, "text/html", page)),
        ("405", Answer::empty(405)),
        ("406", Answer::empty(406)),
        ("410", Answer::empty(410)),
        ("415", Answer::empty(415)),
        ("422", Answer::empty(422)),
        ("501", Answer::empty(501)),
        ("a page", Answer::new(200, "text/html", page)),
        (
            "another type",
            Answer::new(200, "application/json", "{\"errors\":[]}"),
        ),
    ];
    (refused, absent)
}

/// One such answer to every question for referrers, with their list under a tag or without: what comes, and what is told.
async fn without_api(
    world: &World,
    (what, answer): &(&str, Answer),
    is_refused: bool,
    with_tag: bool,
) {
    let what = format!("{what}, tag {with_tag}");
    let family = family(world);
    if with_tag {
        let listed = [descriptor(OCI_MANIFEST, &family.note)];
        world.fake.index(&family.list_tag, &listed);
    }
    let answer = answer.clone();
    world.fake.bend(move |ask, ordinary| {
        if is_api(ask) {
            answer.clone()
        } else if ask.path.starts_with("/token") {
            Answer::new(200, "application/json", "{\"token\":\"t\"}")
        } else {
            ordinary
        }
    });
    let name = world.name();
    let (code, report, said) = report(world, &name, &[]);
    let lacks = is_refused && !with_tag;
    assert_eq!(code, Some(if lacks { 6 } else { 0 }), "{what}: {said}");
    assert_whole(world, &name, &family.image, &what).await;
    let note = format!("manifests/{}", sha256(&family.note));
    let want = if with_tag { 200 } else { 404 };
    assert_eq!(world.status(&name, &note).await, want, "{what}");
    let sig = format!("manifests/{}", family.sig_tag);
    assert_eq!(
        world.body(&name, &sig).await,
        family.signature.bytes,
        "{what}"
    );
    assert_eq!(
        report["missing_evidence_count"].as_u64(),
        Some(2 * u64::from(lacks)),
        "{what}: {said}"
    );
    // Of the image and of its signature.
    if lacks {
        assert_eq!(
            report["missing_evidence"][0]["subject"],
            json!(family.image.digest)
        );
        assert!(
            !said.contains("docker login") && !said.contains("--realm"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_referrers_api_cannot_be_used_the_tag_is_read() {
    let world = World::start().await;
    let (refused, absent) = api_answers(world.fake.port);
    for with_tag in [true, false] {
        for (is_refused, answers) in [(true, &refused), (false, &absent)] {
            for answer in answers {
                without_api(&world, answer, is_refused, with_tag).await;
            }
        }
    }
}

/// A token service that is asked again and again, half a minute long: these two wait side by side.
async fn without_tokens(with_tag: bool) {
    let elsewhere = "Bearer realm=\"http://127.0.0.1:9/token\",service=\"s\"";
    let answer = ("401 from elsewhere", challenge(elsewhere));
    without_api(&World::start().await, &answer, true, with_tag).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_token_service_cannot_be_reached_the_tag_is_read() {
    without_tokens(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_token_service_cannot_be_reached_and_no_tag_is_there_it_is_told() {
    without_tokens(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_cannot_be_read_keeps_no_image_out() {
    let world = World::start().await;
    let schema1 =
        json!({"schemaVersion": 1, "name": "a/b", "tag": "x", "fsLayers": [], "history": []});
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let answers: Answers = vec![
        ("400", Answer::empty(400)),
        ("401", Answer::empty(401)),
        ("401 Basic", challenge("Basic realm=\"x\"")),
        ("403", Answer::empty(403)),
        ("405", Answer::empty(405)),
        ("406", Answer::empty(406)),
        ("500", Answer::empty(500)),
        ("a page", Answer::new(200, "text/html", "<html></html>")),
        (
            "half a body",
            Answer::new(200, OCI_INDEX, "{\"manifests\":["),
        ),
        (
            "an entry without digest",
            Answer::new(200, OCI_INDEX, "{\"schemaVersion\":2,\"manifests\":[{}]}"),
        ),
        ("schema 1", Answer::new(200, signed, bytes_of(&schema1))),
    ];
    // The list of referrers, and what cosign keeps.
    for ending in ["", ".sig", ".att", ".sbom"] {
        for (what, answer) in &answers {
            let what = format!("{what} for {ending}");
            let family = family(&world);
            let (tag, answer) = (tag_of(&family.image.digest, ending), answer.clone());
            world.fake.bend(move |ask, ordinary| {
                if ask.manifest(&tag) {
                    answer.clone()
                } else {
                    ordinary
                }
            });
            let name = world.name();
            let (code, report, said) = report(&world, &name, &[]);
            assert_eq!(code, Some(6), "{what}: {said}");
            assert_whole(&world, &name, &family.image, &what).await;
            assert_eq!(
                report["missing_evidence"].as_array().map(Vec::len),
                Some(1),
                "{what}: {said}"
            );
            let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
            assert_eq!(last["error"]["kind"], json!("evidence"), "{said}");
            let sig = world
                .status(&name, &format!("manifests/{}", family.sig_tag))
                .await;
            assert_eq!(sig, if ending == ".sig" { 404 } else { 200 }, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_come_where_head_is_not_served() {
    let world = World::start().await;
    for status in [400, 401, 403, 405, 500, 501, 200] {
        let family = family(&world);
        world.fake.bend(move |ask, ordinary| {
            if ask.method == "HEAD" && ask.path.contains("/manifests/") {
                Answer::empty(status)
            } else {
                ordinary
            }
        });
        let name = world.name();
        let (code, _, said) = report(&world, &name, &[]);
        assert_eq!(code, Some(0), "{status}: {said}");
        assert_whole(&world, &name, &family.image, "HEAD").await;
        let sig = format!("manifests/{}", family.sig_tag);
        assert_eq!(
            world.body(&name, &sig).await,
            family.signature.bytes,
            "{status}"
        );
        // GET is refused, too.
        let tag = family.sig_tag.clone();
        world.fake.bend(move |ask, ordinary| {
            if ask.method == "HEAD" && ask.path.contains("/manifests/") {
                Answer::empty(status)
            } else if ask.manifest(&tag) {
                Answer::empty(403)
            } else {
                ordinary
            }
        });
        let name = world.name();
        let output = world.mirror(&name, ":v1", &[]);
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(6), "{status}: {text}");
        assert!(text.contains("warning: the tag sha256-"), "{text}");
        assert_whole(&world, &name, &family.image, "GET").await;
        let output = world.mirror(&name, ":v1", &["--allow-missing-evidence"]);
        assert!(output.status.success(), "{}", text_of(&output));
        let text = text_of(&output);
        assert!(
            text.contains("warning: the tag sha256-") && !text.contains("error"),
            "{text}"
        );
    }
}

/// Each breaks one thing that is attached; the rest comes.
#[tokio::test(flavor = "multi_thread")]
async fn one_broken_document_is_left_out_alone() {
    let world = World::start().await;
    for what in [
        "listed and gone",
        "refused",
        "cut short",
        "other bytes",
        "no manifest",
        "its blob is gone",
        "its blob is refused",
        "its blob is other bytes",
        "its blob has another size",
        "its part is gone",
        "what refers to it is gone with it",
    ] {
        let family = family(&world);
        let bad = world.fake.referrer(&family.image.bytes, "a bad note");
        let mut bad_digest = sha256(&bad);
        let blob = sha256(b"a bad note");
        match what {
            "listed and gone" => world.fake.forget(&bad_digest),
            "its blob is gone" => world.fake.forget(&blob),
            "its part is gone" => {
                let mut index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
                    "manifests": [descriptor(OCI_MANIFEST, b"not there")]});
                index["subject"] = descriptor(OCI_MANIFEST, &family.image.bytes);
                bad_digest = world.fake.manifest("", OCI_INDEX, &bytes_of(&index));
            }
            "its blob has another size" => {
                let mut value: Value = serde_json::from_slice(&bad).unwrap();
                value["config"] =
                    json!({"mediaType": "a/b", "digest": sha256(&family.image.layer), "size": 7});
                bad_digest = world.fake.manifest("", OCI_MANIFEST, &bytes_of(&value));
            }
            "what refers to it is gone with it" => {
                let on_it = world.fake.referrer(&bad, "on the bad note");
                let tag = tag_of(&bad_digest, "");
                world.fake.index(&tag, &[descriptor(OCI_MANIFEST, &on_it)]);
                world.fake.forget(&blob);
            }
            _ => {}
        }
        let listed = json!({"mediaType": OCI_MANIFEST, "digest": bad_digest, "size": 7});
        world.fake.index(
            &family.list_tag,
            &[listed, descriptor(OCI_MANIFEST, &family.note)],
        );
        let (digest, blob) = (bad_digest.clone(), blob.clone());
        world.fake.bend(move |ask, mut answer| {
            match what {
                "refused" if ask.manifest(&digest) => return Answer::empty(403),
                "cut short" if ask.manifest(&digest) => answer.cut = Some(20),
                "other bytes" if ask.manifest(&digest) => answer.body.push(b' '),
                "no manifest" if ask.manifest(&digest) => {
                    return Answer::new(200, "text/html", "<html></html>");
                }
                "its blob is refused" if ask.blob(&blob) => return Answer::empty(403),
                "its blob is other bytes" if ask.blob(&blob) => answer.body[0] ^= 1,
                _ => {}
            }
            answer
        });
        let name = world.name();
        let (code, report, said) = report(&world, &name, &[]);
        assert_eq!(code, Some(6), "{what}: {said}");
        assert_whole(&world, &name, &family.image, what).await;
        let note = format!("manifests/{}", sha256(&family.note));
        assert_eq!(world.status(&name, &note).await, 200, "{what}");
        let gone = world
            .status(&name, &format!("manifests/{bad_digest}"))
            .await;
        assert_eq!(gone, 404, "{what}");
        let count = if what.starts_with("what refers") {
            2
        } else {
            1
        };
        let missing = report["missing_evidence"].as_array().unwrap();
        assert_eq!(missing.len(), count, "{what}: {said}");
        assert_eq!(missing[0]["what"], json!(bad_digest), "{what}: {said}");
        assert_eq!(
            missing[0]["subject"],
            json!(family.image.digest),
            "{what}: {said}"
        );
        assert!(!said.contains("--platform"), "{said}");
        let list = world
            .body(&name, &format!("referrers/{}", family.image.digest))
            .await;
        let list: Value = serde_json::from_slice(&list).unwrap();
        assert_eq!(list["manifests"].as_array().unwrap().len(), 1, "{what}");
    }
    // What was asked for must be whole.
    let family = family(&world);
    world.fake.forget(&sha256(&family.image.layer));
    let name = world.name();
    let (code, _, said) = report(&world, &name, &["--allow-missing-evidence"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(world.status(&name, "manifests/v1").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tag_is_believed_as_far_as_its_manifests_say_the_same() {
    let world = World::start().await;
    // What such a tag may hold beside a list, and how many warnings there are.
    for (what, warnings) in [
        ("the manifest itself", 0),
        ("another manifest", 1),
        ("a list of others", 2),
        ("a list of what does not refer to it", 2),
    ] {
        let family = family(&world);
        let other = world.fake.image("other", "arm64", 9, 500);
        let stranger = world.fake.referrer(&other.bytes, "of another");
        match what {
            "the manifest itself" => {
                world
                    .fake
                    .manifest(&family.list_tag, OCI_MANIFEST, &family.image.bytes);
            }
            "another manifest" => {
                world
                    .fake
                    .manifest(&family.list_tag, OCI_MANIFEST, &other.bytes);
            }
            _ => {
                let first = if what.ends_with("others") {
                    &stranger
                } else {
                    &other.bytes
                };
                let listed = [first, &other.bytes, &family.note];
                let listed = listed.map(|bytes| descriptor(OCI_MANIFEST, bytes));
                let listed = if what.ends_with("others") {
                    &listed[..]
                } else {
                    &listed[1..]
                };
                world.fake.index(&family.list_tag, listed);
            }
        }
        let warnings = if what.ends_with("refer to it") {
            1
        } else {
            warnings
        };
        let name = world.name();
        let (code, report, said) = report(&world, &name, &[]);
        assert_eq!(code, Some(0), "{what}: {said}");
        assert_whole(&world, &name, &family.image, what).await;
        for digest in [&other.digest, &sha256(&stranger)] {
            let status = world.status(&name, &format!("manifests/{digest}")).await;
            assert_eq!(status, 404, "{what}");
        }
        assert_eq!(
            report["warnings"].as_array().unwrap().len(),
            warnings,
            "{what}: {said}"
        );
        let note = world
            .status(&name, &format!("manifests/{}", sha256(&family.note)))
            .await;
        assert_eq!(
            note,
            if what.starts_with("a list") { 200 } else { 404 },
            "{what}"
        );
    }
    // An index at its own tag, and one platform of it.
    world.fake.clear();
    let images = [("amd64", 1), ("arm64", 2)].map(|(arch, seed)| {
        let image = world.fake.image("", arch, seed, 500);
        let mut child = descriptor(OCI_MANIFEST, &image.bytes);
        child["platform"] = json!({"os": "linux", "architecture": arch});
        (image, child)
    });
    let children = images.each_ref().map(|(_, child)| child.clone());
    let index = world.fake.index("v1", &children);
    world
        .fake
        .manifest(&tag_of(&sha256(&index), ""), OCI_INDEX, &index);
    let of_arm = tag_of(&images[1].0.digest, "");
    world
        .fake
        .manifest(&of_arm, OCI_MANIFEST, &images[0].0.bytes);
    let name = world.name();
    let (code, _, said) = report(&world, &name, &["--platform", "linux/arm64"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(world.body(&name, "manifests/v1").await, index);
    let there = |n: usize| format!("manifests/{}", images[n].0.digest);
    assert_eq!(world.status(&name, &there(0)).await, 404);
    assert_eq!(world.status(&name, &there(1)).await, 200);
}

/// What `skopeo sync` without `--all` leaves: the referrer in the place of the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_referrer_in_the_place_of_the_list_is_taken() {
    let world = World::start().await;
    let family = family(&world);
    world
        .fake
        .manifest(&family.list_tag, OCI_MANIFEST, &family.note);
    let name = world.name();
    let (code, report, said) = report(&world, &name, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_whole(&world, &name, &family.image, "direct").await;
    let note = format!("manifests/{}", sha256(&family.note));
    assert_eq!(world.body(&name, &note).await, family.note);
    let warnings = report["warnings"].as_array().unwrap();
    assert!(
        warnings.len() == 1 && warnings[0].as_str().unwrap().contains(&family.list_tag),
        "{said}"
    );
}
