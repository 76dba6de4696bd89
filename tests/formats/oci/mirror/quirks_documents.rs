//! Documents as upstreams really send them: coded, under types of their own, with null for nothing, with content inside; and
//! the platforms that are asked for.

use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::formats::oci::mirror::quirks::World;
use crate::harness::content::{
    OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, SCHEMA2, bytes_of, descriptor, noise, sha256,
};
use crate::harness::fake::{Answer, Ask, tag_of};
use crate::harness::text_of;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// The answer as a proxy codes it on the way: of unknown length.
fn coded(answer: Answer) -> Answer {
    let body = gzip(&answer.body);
    let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let mut answer = answer
        .with("Content-Encoding", "gzip")
        .with("Transfer-Encoding", "chunked");
    answer.body = chunked;
    answer
}

fn is_get(ask: &Ask) -> bool {
    ask.method == "GET" && ask.path != "/v2/"
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_is_asked_for_and_gzip_taken_all_the_same() {
    let world = World::start().await;
    let port = world.fake.port;
    let image = world.fake.image("v1", "amd64", 1, 300_000);
    let note = world.fake.referrer(&image.bytes, "a note");
    world.fake.index(
        &tag_of(&image.digest, ""),
        &[descriptor(OCI_MANIFEST, &note)],
    );
    let layer = sha256(&image.layer);
    // A layer that is gzip by itself, of which some storages say that it is coded.
    let own = gzip(&noise(5, 200_000));
    let own_layer = world.fake.blob(&own);
    let mut packed = image.value.clone();
    let of_own = "application/vnd.oci.image.layer.v1.tar+gzip";
    packed["layers"] = json!([descriptor(of_own, &own)]);
    let packed = bytes_of(&packed);
    world.fake.manifest("packed", OCI_MANIFEST, &packed);

    world.fake.bend(move |ask, ordinary| {
        assert_eq!(ask.header("accept-encoding"), "identity", "{ask:?}");
        let is_token = ask.path.starts_with("/token");
        if is_token {
            return coded(Answer::new(200, "application/json", "{\"token\":\"good\"}"));
        }
        if ask.header("authorization") != "Bearer good" {
            let asks = format!("Bearer realm=\"http://127.0.0.1:{port}/token\"");
            return Answer::empty(401).with("WWW-Authenticate", asks);
        }
        if is_get(ask) {
            coded(ordinary)
        } else {
            ordinary
        }
    });
    let name = world.name();
    let output = world.mirror(&name, ":v1", &[]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(world.body(&name, "manifests/v1").await, image.bytes);
    assert_eq!(
        world.body(&name, &format!("blobs/{layer}")).await,
        image.layer
    );
    assert_eq!(
        world
            .status(&name, &format!("manifests/{}", sha256(&note)))
            .await,
        200
    );

    // Coded with its length known; said to be coded and not; with parts of it asked for.
    for what in [
        "length",
        "lies",
        "lies, length unknown",
        "lies, broken off",
        "broken off",
    ] {
        for (tag, layer, bytes) in [("v1", &layer, &image.layer), ("packed", &own_layer, &own)] {
            let name = world.name();
            let (blob, count) = (layer.clone(), std::sync::atomic::AtomicUsize::new(0));
            world.fake.bend(move |ask, ordinary| {
                if !ask.blob(&blob) || ask.method != "GET" {
                    return ordinary;
                }
                let is_first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
                let mut answer = match what {
                    "length" => {
                        let mut answer = ordinary.with("Content-Encoding", "gzip");
                        answer.body = gzip(&answer.body);
                        answer.status = 200;
                        answer.without("Content-Range")
                    }
                    "lies, length unknown" => {
                        let mut answer = ordinary.with("Content-Encoding", "gzip");
                        let body = std::mem::take(&mut answer.body);
                        answer.body = format!("{:x}\r\n", body.len()).into_bytes();
                        answer.body.extend_from_slice(&body);
                        answer.body.extend_from_slice(b"\r\n0\r\n\r\n");
                        answer.with("Transfer-Encoding", "chunked")
                    }
                    "broken off" if ask.header("range").is_empty() => coded(ordinary),
                    "broken off" => Answer::empty(416),
                    _ => ordinary.with("Content-Encoding", "gzip"),
                };
                if is_first && what.ends_with("broken off") {
                    answer.cut = Some(100_000);
                }
                answer
            });
            let output = world.mirror(&name, &format!(":{tag}"), &[]);
            assert!(
                output.status.success(),
                "{what}, {tag}: {}",
                text_of(&output)
            );
            let got = world.body(&name, &format!("blobs/{layer}")).await;
            assert!(got == *bytes, "{what}, {tag}");
        }
    }
    // What unfolds without end is refused, and keeps nothing else waiting.
    world.fake.bend(|ask, ordinary| {
        if !ask.manifest("v1") {
            return ordinary;
        }
        let mut answer = ordinary.with("Content-Encoding", "gzip");
        answer.body = gzip(&vec![b' '; 64 << 20]);
        answer
    });
    let output = world.mirror(&world.name(), ":v1", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_document_is_stands_in_it() {
    let world = World::start().await;
    let image = world.fake.image("", "amd64", 1, 500);
    let with = |own: Option<&str>| {
        let mut value = image.value.clone();
        match own {
            Some(own) => value["mediaType"] = json!(own),
            None => drop(value.as_object_mut().unwrap().remove("mediaType")),
        }
        bytes_of(&value)
    };
    let upper = "Application/vnd.OCI.image.manifest.v1+JSON";
    let pretty = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    for header in [
        "",
        "binary/octet-stream",
        "application/octet-stream",
        "text/json",
        "text/plain",
        "application/xml",
        "unknown",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-8",
        pretty,
        upper,
        OCI_INDEX,
        SCHEMA2,
        "application/vnd.docker.distribution.manifest.v1+json",
    ] {
        for (own, want) in [
            (Some(OCI_MANIFEST), OCI_MANIFEST),
            (Some(SCHEMA2), SCHEMA2),
            (Some(upper), OCI_MANIFEST),
            (Some(""), OCI_MANIFEST),
            (None, OCI_MANIFEST),
        ] {
            // Where the document says nothing, a type that can be true is believed.
            let want = if own.is_none_or(str::is_empty) && header == SCHEMA2 {
                SCHEMA2
            } else {
                want
            };
            let bytes = with(own);
            world.fake.manifest("v1", header, &bytes);
            let name = world.name();
            let output = world.mirror(&name, ":v1", &[]);
            assert!(
                output.status.success(),
                "{header}, {own:?}: {}",
                text_of(&output)
            );
            let path = format!("/v2/{name}/manifests/v1");
            let got = world.target.anonymous().get(&path).await.expect(200);
            assert_eq!(
                (&got.body, got.header("content-type")),
                (&bytes, want),
                "{header}, {own:?}"
            );
        }
    }
    // Pushes are read in the same way.
    let admin = world.target.admin();
    for bytes in [&image.config, &image.layer] {
        crate::harness::content::push_blob(&admin, "pushed", bytes).await;
    }
    for (own, header) in [
        (OCI_MANIFEST, upper),
        (upper, OCI_MANIFEST),
        (upper, upper),
        ("", OCI_MANIFEST),
    ] {
        let bytes = with(Some(own));
        crate::harness::content::put_manifest(&admin, "pushed", "v1", header, &bytes).await;
        let got = world
            .target
            .anonymous()
            .get("/v2/pushed/manifests/v1")
            .await
            .expect(200);
        assert_eq!(
            (&got.body, got.header("content-type")),
            (&bytes, OCI_MANIFEST),
            "{own}, {header}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn null_and_empty_are_absent_for_pushes_and_mirrors() {
    let world = World::start().await;
    let admin = world.target.admin();
    let (config, layer) = (b"{}".to_vec(), noise(3, 400));
    for bytes in [&config, &layer] {
        world.fake.blob(bytes);
        crate::harness::content::push_blob(&admin, "pushed", bytes).await;
    }
    let plain = |more: Value| {
        let mut layer = descriptor(OCI_LAYER, &layer);
        for (name, value) in more.as_object().unwrap() {
            layer[name] = value.clone();
        }
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, &config), "layers": [layer]})
    };
    let null = json!({"urls": null, "annotations": null, "data": null, "platform": null, "mediaType": null, "artifactType": null});
    let empty =
        json!({"urls": [], "annotations": {}, "data": "", "mediaType": "", "artifactType": ""});
    let mut documents = vec![plain(null.clone()), plain(empty.clone())];
    for (name, value) in [
        ("manifests", json!(null)),
        ("blobs", json!(null)),
        ("subject", json!(null)),
        ("annotations", json!(null)),
        ("artifactType", json!("")),
        ("artifactType", json!(null)),
        ("mediaType", json!("")),
    ] {
        let mut document = plain(json!({}));
        document[name] = value;
        documents.push(document);
    }
    let mut no_layers = plain(json!({}));
    no_layers["layers"] = json!(null);
    documents.push(no_layers);
    documents.push(json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": null}));
    documents.push(json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "config": null, "layers": null}));
    for document in &documents {
        let bytes = bytes_of(document);
        let media_type = document["mediaType"]
            .as_str()
            .filter(|t| !t.is_empty())
            .unwrap_or(OCI_MANIFEST);
        world.fake.manifest("v1", media_type, &bytes);
        let name = world.name();
        let output = world.mirror(&name, ":v1", &[]);
        assert!(output.status.success(), "{document}: {}", text_of(&output));
        assert_eq!(world.body(&name, "manifests/v1").await, bytes);
        crate::harness::content::put_manifest(&admin, "pushed", "v1", media_type, &bytes).await;
    }
    // Lists of referrers have the same descriptors.
    let image = world.fake.image("v1", "amd64", 1, 500);
    let note = world.fake.referrer(&image.bytes, "a note");
    for more in [null, empty] {
        let mut listed = descriptor(OCI_MANIFEST, &note);
        for (name, value) in more.as_object().unwrap() {
            listed[name] = value.clone();
        }
        let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed], "annotations": null});
        let (list, of) = (list.to_string(), format!("/referrers/{}", image.digest));
        world.fake.bend(move |ask, ordinary| {
            if ask.path.ends_with(&of) {
                Answer::new(200, OCI_INDEX, list.as_str())
            } else {
                ordinary
            }
        });
        let name = world.name();
        let output = world.mirror(&name, ":v1", &[]);
        assert!(output.status.success(), "{}", text_of(&output));
        assert_eq!(
            world
                .status(&name, &format!("manifests/{}", sha256(&note)))
                .await,
            200
        );
    }
}

/// A descriptor may hold its content; and a layer that says where else it is may be left out, pushed or mirrored.
#[tokio::test(flavor = "multi_thread")]
async fn content_that_the_source_lacks() {
    let world = World::start().await;
    let image = world.fake.image("", "amd64", 1, 500);
    let with = |descriptor: Value, bytes: &[u8]| {
        let mut descriptor = descriptor;
        descriptor["data"] = json!(BASE64_STANDARD.encode(bytes));
        descriptor
    };
    let mut value = image.value.clone();
    value["config"] = with(value["config"].clone(), &image.config);
    value["layers"][0] = with(value["layers"][0].clone(), &image.layer);
    let bytes = bytes_of(&value);
    let mut child = with(descriptor(OCI_MANIFEST, &bytes), &bytes);
    child["platform"] = json!({"os": "linux", "architecture": "amd64"});
    world.fake.index("v1", &[child]);
    world.fake.forget(&sha256(&image.config));
    world.fake.forget(&sha256(&image.layer));
    let name = world.name();
    let output = world.mirror(&name, ":v1", &[]);
    assert!(output.status.success(), "{}", text_of(&output));
    let got = world
        .body(&name, &format!("manifests/{}", sha256(&bytes)))
        .await;
    assert_eq!(got, bytes);
    for bytes in [&image.config, &image.layer] {
        assert_eq!(
            world.body(&name, &format!("blobs/{}", sha256(bytes))).await,
            *bytes
        );
    }
    // What stands there must be what it says.
    for wrong in ["e31=", "***", "", "e30"] {
        let mut value = image.value.clone();
        value["config"]["data"] = json!(wrong);
        world
            .fake
            .manifest("wrong", OCI_MANIFEST, &bytes_of(&value));
        let output = world.mirror(&world.name(), ":wrong", &[]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{wrong}: {}",
            text_of(&output)
        );
    }
    // Elsewhere, by its type or by its addresses.
    let config = world.fake.blob(b"{}");
    for (media_type, urls) in [
        (OCI_LAYER, json!(["https://elsewhere.example/x"])),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            json!(null),
        ),
        (
            "application/vnd.docker.image.rootfs.FOREIGN.diff.tar.gzip",
            json!([]),
        ),
    ] {
        for (there, status) in [(true, 200), (false, 404), (false, 405), (false, 403)] {
            let layer = noise(7, 300);
            let mut away = descriptor(media_type, &layer);
            away["urls"] = urls.clone();
            let value = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, b"{}"), "layers": [away]});
            let bytes = bytes_of(&value);
            world.fake.manifest("away", OCI_MANIFEST, &bytes);
            let digest = sha256(&layer);
            world.fake.forget(&digest);
            if there {
                world.fake.blob(&layer);
            }
            let blob = digest.clone();
            world.fake.bend(move |ask, ordinary| {
                if ask.blob(&blob) && !there {
                    Answer::empty(status)
                } else {
                    ordinary
                }
            });
            let name = world.name();
            let output = world.mirror(&name, ":away", &[]);
            assert!(
                output.status.success(),
                "{media_type}, {status}: {}",
                text_of(&output)
            );
            assert_eq!(world.body(&name, "manifests/away").await, bytes);
            assert_eq!(world.status(&name, &format!("blobs/{config}")).await, 200);
            let want = if there { 200 } else { 404 };
            assert_eq!(world.status(&name, &format!("blobs/{digest}")).await, want);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_have_several_names_and_missing_ones_are_told() {
    let world = World::start().await;
    let mut children = Vec::new();
    let mut digests = Vec::new();
    for (n, platform) in [
        json!({"os": "linux", "architecture": "amd64"}),
        json!({"os": "linux", "architecture": "arm64", "variant": "v8"}),
        json!({"os": "linux", "architecture": "arm"}),
        json!({"os": "Linux", "architecture": "arm", "variant": "v6"}),
        json!({"os": "linux", "architecture": "x86_64", "variant": "v3"}),
    ]
    .into_iter()
    .enumerate()
    {
        let image = world.fake.image("", "any", n as u64, 300);
        let mut child = descriptor(OCI_MANIFEST, &image.bytes);
        child["platform"] = platform;
        children.push(child);
        digests.push(image.digest);
    }
    // One of which the index says nothing.
    let open = world.fake.image("", "s390x", 9, 300);
    let mut with_open = children.clone();
    with_open.push(descriptor(OCI_MANIFEST, &open.bytes));
    digests.push(open.digest.clone());
    world.fake.index("v1", &children);
    world.fake.index("open", &with_open);
    world.fake.image("one", "arm64", 20, 300);

    for (tag, platforms, code, there) in [
        ("v1", &["linux/amd64"][..], 0, &[0][..]),
        ("v1", &["linux/x86_64", "LINUX/aarch64"], 0, &[0, 1]),
        ("v1", &["linux/arm64"], 0, &[1]),
        ("v1", &["linux/arm/v7"], 0, &[2]),
        ("v1", &["linux/arm"], 0, &[2]),
        ("v1", &["linux/arm/v6"], 0, &[3]),
        ("v1", &["linux/amd64/v3"], 0, &[4]),
        ("v1", &["linux/amd64", "linux/s390x"], 1, &[]),
        ("v1", &["linux/s390x"], 1, &[]),
        ("open", &["linux/amd64", "linux/s390x"], 0, &[0, 5]),
        ("open", &["linux/amd64"], 0, &[0]),
        ("open", &["linux/amd64", "linux/riscv64"], 1, &[]),
        ("one", &["linux/arm64/v8"], 0, &[]),
        ("one", &["linux/amd64", "linux/arm64"], 0, &[]),
        ("one", &["linux/amd64"], 1, &[]),
    ] {
        let mut more = Vec::new();
        for platform in platforms {
            more.extend(["--platform", platform]);
        }
        let name = world.name();
        let output = world.mirror(&name, &format!(":{tag}"), &more);
        let text = text_of(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{tag} {platforms:?}: {text}"
        );
        for (n, digest) in digests.iter().enumerate() {
            let status = world.status(&name, &format!("manifests/{digest}")).await;
            assert_eq!(
                status == 200,
                there.contains(&n),
                "{tag} {platforms:?}: {n}"
            );
        }
        // By the flag a warning, unless there is nothing.
        more.push("--allow-missing-platform");
        let name = world.name();
        let output = world.mirror(&name, &format!(":{tag}"), &more);
        let text = text_of(&output);
        let nothing = platforms == ["linux/s390x"];
        assert_eq!(
            output.status.success(),
            !nothing,
            "{tag} {platforms:?}: {text}"
        );
        assert_eq!(
            text.contains("warning: this image"),
            code != 0 && !nothing,
            "{text}"
        );
    }
}
