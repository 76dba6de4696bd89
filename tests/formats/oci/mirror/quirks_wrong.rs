//! Upstreams that send what they should not: wrong bytes, refusals, codings of their own. What may be right the next time is
//! asked for again, and what is told names the host, the content and what to do.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::formats::oci::mirror::quirks::World;
use crate::harness::content::{OCI_INDEX, OCI_MANIFEST, bytes_of, descriptor, sha256};
use crate::harness::fake::{Answer, Ask};
use crate::harness::text_of;

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
    let child = descriptor(OCI_MANIFEST, &image.bytes);
    let index = world.fake.index("many", &[child]);
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

/// Runs that must fail, with what they must say and must not.
fn fails(world: &World, more: &[&str], says: &[&str], what: &str) -> String {
    let output = world.mirror(&world.name(), ":v1", more);
    let told = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{what}: {told}");
    for part in says {
        assert!(told.contains(part), "{what}: {part}: {told}");
    }
    told
}

/// Credentials that are refused are said to be refused; who sent none is told to log in.
#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_told_from_none() {
    let world = World::start().await;
    world.fake.image("v1", "amd64", 1, 500);
    let port = world.fake.port;
    let file = world.target.home().join("auth.json");
    let auth = |text: &str| json!({"auth": BASE64_STANDARD.encode(text)});
    let host = format!("127.0.0.1:{port}");
    let with = |auths: serde_json::Value| {
        std::fs::write(&file, json!({"auths": auths}).to_string()).unwrap();
    };
    let more = ["--creds-file", file.to_str().unwrap()];
    for (way, status) in [
        ("Basic", 401),
        ("Bearer", 400),
        ("Bearer", 401),
        ("Bearer", 403),
    ] {
        world.fake.bend(move |ask, _| {
            let error = r#"{"errors":[{"code":"DENIED","message":"no such user"}]}"#;
            let status = if ask.path.starts_with("/token") {
                status
            } else {
                401
            };
            let asks = format!("{way} realm=\"http://127.0.0.1:{port}/token\",service=\"s\"");
            Answer::new(status, "application/json", error).with("WWW-Authenticate", asks)
        });
        with(json!({ host.clone(): auth("u:hunter2") }));
        let told = fails(
            &world,
            &more,
            &["refuses the credentials", &host, "no such user"],
            way,
        );
        assert!(
            !told.contains("docker login") && !told.contains("hunter2"),
            "{told}"
        );
        with(json!({}));
        fails(
            &world,
            &more,
            &["an anonymous request", "docker login"],
            way,
        );
    }
    // An entry that cannot be read hinders who asks for its host alone.
    world.fake.straighten();
    with(
        json!({"bad.example": {"auth": ["hunter2"]}, "bad2.example": "hunter2", host.clone(): auth("u:p")}),
    );
    let output = world.mirror(&world.name(), ":v1", &more);
    let told = text_of(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("bad.example") && told.contains("bad2.example"),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
    with(json!({ host.clone(): {"auth": ["hunter2"]} }));
    let told = fails(
        &world,
        &more,
        &[&host, "log in again"],
        "an entry of the host itself",
    );
    assert!(!told.contains("hunter2"), "{told}");
}

type Way = fn(&mut Vec<u8>);

/// A coding that nobody asked for is named; what is only said to be coded is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_coding_is_named() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 5000);
    let layer = sha256(&image.layer);
    let get = |ask: &Ask| ask.method == "GET" && ask.path != "/v2/";
    let ways: [(&str, Way); 3] = [
        ("shorter", |body| body.truncate(body.len() / 2)),
        ("longer", |body| body.extend_from_slice(&[7; 100])),
        ("as long", |body| body.iter_mut().for_each(|b| *b ^= 0x55)),
    ];
    for coding in ["br", "deflate", "zstd", "br, gzip"] {
        for (way, code) in ways {
            let what = format!("{coding}, {way}");
            let blob = layer.clone();
            let coded = move |mut answer: Answer| {
                code(&mut answer.body);
                answer.with("Content-Encoding", coding)
            };
            world.fake.bend(move |ask, answer| {
                if get(ask) && ask.blob(&blob) {
                    coded(answer)
                } else {
                    answer
                }
            });
            fails(&world, &[], &[coding, "not asked for", &layer], &what);
            for digest in [true, false] {
                world.fake.bend(move |ask, answer| {
                    if !(get(ask) && ask.manifest("v1")) {
                        return answer;
                    }
                    let answer = coded(answer);
                    if digest {
                        answer
                    } else {
                        answer.without("Docker-Content-Digest")
                    }
                });
                fails(&world, &[], &[coding, "not asked for"], &what);
            }
        }
        world.fake.bend(move |ask, answer| {
            if get(ask) {
                answer.with("Content-Encoding", coding)
            } else {
                answer
            }
        });
        let name = world.name();
        let output = world.mirror(&name, ":v1", &[]);
        assert!(output.status.success(), "{coding}: {}", text_of(&output));
        assert_eq!(
            world.body(&name, &format!("blobs/{layer}")).await,
            image.layer
        );
    }
}

/// What a registry says of its refusal is shown, in whatever form it says it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_says_is_shown() {
    let world = World::start().await;
    world.fake.image("v1", "amd64", 1, 500);
    let long = format!("the reason\u{1b}[31m {}", "x".repeat(5000));
    for (kind, body) in [
        (
            "application/json",
            json!({"errors": [{"code": "X", "message": "the reason"}]}).to_string(),
        ),
        (
            "application/json",
            json!({"errors": [{"code": "X", "message": long}]}).to_string(),
        ),
        (
            "application/json",
            json!({"message": "the reason"}).to_string(),
        ),
        (
            "application/json",
            json!({"errors": [], "detail": "the reason"}).to_string(),
        ),
        (
            "application/problem+json",
            json!({"details": "the reason"}).to_string(),
        ),
        ("text/plain; charset=utf-8", "\n the reason\n".to_owned()),
        ("text/plain", long.clone()),
    ] {
        for status in [400, 418, 429] {
            let (body, what) = (body.clone(), format!("{status}: {body:.60}"));
            world.fake.bend(move |ask, answer| {
                if ask.path.contains("/manifests/") {
                    return Answer::new(status, kind, body.as_str()).with("Retry-After", "999");
                }
                answer
            });
            let told = fails(&world, &[], &[&status.to_string(), "the reason"], &what);
            assert!(!told.contains('\u{1b}') && told.len() < 1000, "{told}");
        }
    }
}

/// 425 is asked again; 203 is taken for what its digest says.
#[tokio::test(flavor = "multi_thread")]
async fn rare_statuses() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 5000);
    let early = AtomicUsize::new(0);
    world.fake.bend(move |ask, answer| {
        if ask.path.contains("/manifests/v1") && early.fetch_add(1, Ordering::Relaxed) == 0 {
            return Answer::empty(425);
        }
        answer
    });
    let output = world.mirror(&world.name(), ":v1", &[]);
    assert!(output.status.success(), "{}", text_of(&output));
    let made = |mut answer: Answer| {
        if answer.status == 200 {
            answer.status = 203;
        }
        answer
    };
    world.fake.bend(move |_, answer| made(answer));
    let name = world.name();
    let output = world.mirror(&name, ":v1", &[]);
    assert!(output.status.success(), "{}", text_of(&output));
    let layer = format!("blobs/{}", sha256(&image.layer));
    assert_eq!(world.body(&name, &layer).await, image.layer);
    assert_eq!(world.body(&name, "manifests/v1").await, image.bytes);
    world.fake.bend(move |ask, answer| {
        if ask.path.contains("/blobs/") {
            bent(made(answer))
        } else {
            answer
        }
    });
    fails(&world, &[], &["other bytes"], "a blob of 203");
    world.fake.bend(move |ask, answer| {
        if ask.manifest("v1") {
            bent(made(answer))
        } else {
            answer
        }
    });
    fails(&world, &[], &["other bytes"], "a manifest of 203");
    world.fake.bend(move |ask, answer| {
        if ask.manifest("v1") {
            made(answer).without("Docker-Content-Digest")
        } else {
            answer
        }
    });
    fails(&world, &[], &["203", "by its digest"], "a tag of 203");
}

/// Types with parameters, and digests in headers that are none.
#[tokio::test(flavor = "multi_thread")]
async fn headers_of_odd_forms_are_passed_over() {
    let world = World::start().await;
    let image = world.fake.image("", "amd64", 1, 500);
    let typed = |media_type: &str| format!("{media_type}; charset=utf-8");
    let mut value = image.value.clone();
    value["mediaType"] = json!(typed(OCI_MANIFEST));
    let odd = bytes_of(&value);
    world.fake.manifest("", OCI_MANIFEST, &odd);
    let mut child = descriptor(OCI_MANIFEST, &odd);
    child["mediaType"] = json!(typed(OCI_MANIFEST));
    let index = json!({"schemaVersion": 2, "mediaType": typed(OCI_INDEX), "manifests": [child, descriptor(OCI_MANIFEST, &image.bytes)]});
    let index = bytes_of(&index);
    world.fake.manifest("v1", &typed(OCI_INDEX), &index);
    for header in [
        "",
        "x",
        "sha256:12",
        "md5:00112233445566778899aabbccddeeff",
        "sha256:\u{fc}",
    ] {
        world.fake.bend(move |ask, answer| {
            if ask.path.contains("/manifests/") && answer.status == 200 {
                let kind = answer
                    .headers
                    .iter()
                    .find(|(name, _)| name == "Content-Type");
                let kind = String::from_utf8(kind.unwrap().1.clone()).unwrap();
                let kind = kind.split(';').next().unwrap().to_owned();
                return answer
                    .with("Docker-Content-Digest", header)
                    .with("Content-Type", format!("{kind}; charset=utf-8"));
            }
            answer
        });
        let name = world.name();
        let output = world.mirror(&name, ":v1", &[]);
        assert!(output.status.success(), "{header}: {}", text_of(&output));
        assert_eq!(world.body(&name, "manifests/v1").await, index);
        let path = format!("/v2/{name}/manifests/{}", sha256(&odd));
        let reply = world.target.anonymous().get(&path).await.expect(200);
        assert_eq!(
            (reply.header("content-type"), reply.body.clone()),
            (OCI_MANIFEST, odd.clone())
        );
    }
}

/// A run that fails says what it keeps, and the next one asks for none of that again. In a repository that is there the blobs
/// can be read meanwhile; one that the run made is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_keeps_what_came() {
    let world = World::start().await;
    let other = world.fake.image("v2", "amd64", 2, 5000);
    for (seed, known) in [(3, false), (4, true)] {
        let image = world.fake.image("v1", "amd64", seed, 100_000);
        let (name, config) = (world.name(), sha256(&image.config));
        let layer = format!("blobs/{}", sha256(&image.layer));
        let hex = layer.rsplit(':').next().unwrap().to_owned();
        let folder = world.target.data().join("blobs/sha256").join(&hex[..2]);
        if known {
            assert!(world.mirror(&name, ":v2", &[]).status.success());
            assert_eq!(world.body(&name, "manifests/v2").await, other.bytes);
        }
        let blob = config.clone();
        world.fake.bend(move |ask, answer| {
            if !ask.blob(&blob) {
                return answer;
            }
            // Once the layer has its place nothing stops it.
            let is_there = || {
                let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                files
                    .into_iter()
                    .any(|file| file.file_name().to_string_lossy().starts_with(&hex))
            };
            let started = std::time::Instant::now();
            while !is_there() && started.elapsed().as_secs() < 60 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Answer::empty(403)
        });
        let output = world.mirror(&name, ":v1", &[]);
        let told = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains("100000 bytes") && told.contains("goes on from there"),
            "{told}"
        );
        let layer = format!("blobs/{}", sha256(&image.layer));
        assert_eq!(
            world.status(&name, &layer).await,
            if known { 200 } else { 404 },
            "{told}"
        );
        assert_eq!(world.status(&name, "manifests/v1").await, 404);
        world.fake.straighten();
        world.fake.asked();
        let output = world.mirror(&name, ":v1", &[]);
        assert!(output.status.success(), "{}", text_of(&output));
        let asked = world.fake.asked();
        assert!(
            !asked.iter().any(|ask| ask.path.ends_with(&layer)),
            "{asked:?}"
        );
    }
}
