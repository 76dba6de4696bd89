//! What a digest is decides how it is kept and shown, not the field that names it: whatever a live or kept manifest names
//! and the repository has survives any number of sweeps, is read at its time, comes back, and is missed by `check`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::content::{
    OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, bytes_of, descriptor, image, noise, push_blob,
    put_manifest, sha256,
};
use crate::harness::damage;
use crate::harness::{Client, Server, init, run, run_ok, text_of};

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OWN: &str = "application/vnd.acme.thing.v1+json";
const CACHE: &str = "application/vnd.buildkit.cacheconfig.v0";
const LEASE: Duration = Duration::from_secs(1);

/// How a piece of content comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum As {
    Blob,
    Manifest,
}

/// How each piece comes, with its media type if it is a manifest, and its bytes.
pub type Content = Vec<(As, &'static str, Vec<u8>)>;

/// A document, and what it names, in the order that a client pushes it.
pub struct Shape {
    pub what: &'static str,
    pub content: Content,
    pub media_type: &'static str,
    pub top: Vec<u8>,
}

fn list(media_type: &str, manifests: &[Value]) -> Vec<u8> {
    bytes_of(&json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}))
}

/// As buildkit writes a cache: the layers and its own configuration are the "manifests" of an index.
fn cache(media_type: &str, layer_type: &str, seed: u64) -> (Content, Vec<u8>) {
    let layers = [noise(seed, 3_000), noise(seed + 1, 90_000)];
    let config = format!("{{\"layers\":[{{\"seed\":{seed}}}]}}").into_bytes();
    let mut named: Vec<Value> = layers.iter().map(|l| descriptor(layer_type, l)).collect();
    named.push(descriptor(CACHE, &config));
    let index = list(media_type, &named);
    let [a, b] = layers;
    let content = [a, b, config].map(|bytes| (As::Blob, "", bytes));
    (content.into(), index)
}

/// An image that no tag names, with its blobs.
fn child(seed: u64) -> (Content, Vec<u8>) {
    let (config, layer) = (format!("{{\"n\":{seed}}}").into_bytes(), noise(seed, 1_500));
    let manifest = bytes_of(&image(&config, &[&layer]));
    let content = vec![
        (As::Blob, "", config),
        (As::Blob, "", layer),
        (As::Manifest, OCI_MANIFEST, manifest.clone()),
    ];
    (content, manifest)
}

pub fn shapes() -> Vec<Shape> {
    let mut all = Vec::new();
    let mut add = |what, content, media_type, top| {
        all.push(Shape {
            what,
            content,
            media_type,
            top,
        });
    };
    let docker_layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    for (n, what, media_type, layer_type) in [
        (0, "an OCI cache", OCI_INDEX, OCI_LAYER),
        (10, "a docker cache", DOCKER_LIST, docker_layer),
        (20, "blobs of any type in an index", OCI_INDEX, "text/plain"),
        (
            30,
            "blobs that are said to be manifests",
            OCI_INDEX,
            OCI_MANIFEST,
        ),
        (40, "blobs in an own type's manifests", OWN, OCI_LAYER),
    ] {
        let (content, top) = cache(media_type, layer_type, 1_000 + n);
        add(what, content, media_type, top);
    }
    let untyped = noise(1_100, 700);
    let mut one = descriptor("", &untyped);
    one.as_object_mut().unwrap().remove("mediaType");
    add(
        "a blob without a type",
        vec![(As::Blob, "", untyped)],
        OCI_INDEX,
        list(OCI_INDEX, &[one]),
    );
    let (mut content, inner) = cache(OCI_INDEX, OCI_LAYER, 1_200);
    let top = list(OCI_INDEX, &[descriptor(OCI_INDEX, &inner)]);
    content.push((As::Manifest, OCI_INDEX, inner));
    add("a cache in an index", content, OCI_INDEX, top);
    let (_, manifest) = child(1_300);
    let top = list(OCI_INDEX, &[descriptor(OCI_MANIFEST, &manifest)]);
    add(
        "a manifest that came as a blob",
        vec![(As::Blob, "", manifest)],
        OCI_INDEX,
        top,
    );
    for (n, field) in ["layers", "blobs", "manifests"].into_iter().enumerate() {
        let (content, manifest) = child(1_400 + n as u64);
        let mut top = json!({"mediaType": OWN});
        top[field] = json!([descriptor(OCI_MANIFEST, &manifest)]);
        add(
            "an own type that names a manifest",
            content,
            OWN,
            bytes_of(&top),
        );
    }
    let (content, manifest) = child(1_500);
    let top = json!({"mediaType": OWN, "config": descriptor(OCI_MANIFEST, &manifest)});
    add(
        "an own type whose config is a manifest",
        content,
        OWN,
        bytes_of(&top),
    );
    let (mut content, manifest) = child(1_600);
    content.push((As::Blob, "", b"{}".into()));
    let mut top = image(b"{}", &[]);
    top["layers"] = json!([descriptor(OCI_MANIFEST, &manifest)]);
    add(
        "an image whose layer is a manifest",
        content,
        OCI_MANIFEST,
        bytes_of(&top),
    );
    all
}

async fn push(client: &Client, repo: &str, shape: &Shape, top_first: bool) {
    let mut steps: Vec<(As, &str, &[u8], String)> = shape
        .content
        .iter()
        .map(|(how, media_type, bytes)| (*how, *media_type, bytes.as_slice(), sha256(bytes)))
        .collect();
    let top = (
        As::Manifest,
        shape.media_type,
        shape.top.as_slice(),
        "t".to_owned(),
    );
    steps.insert(if top_first { 0 } else { steps.len() }, top);
    for (how, media_type, bytes, reference) in steps {
        if how == As::Blob {
            push_blob(client, repo, bytes).await;
        } else {
            put_manifest(client, repo, &reference, media_type, bytes).await;
        }
    }
}

/// Whether all of it can be read in the repository (which may be one `at/TIME`).
pub async fn whole(client: &Client, repo: &str, shape: &Shape) -> Result<(), String> {
    let top = client.get(&format!("/v2/{repo}/manifests/t")).await;
    if top.status != 200 || top.body != shape.top {
        return Err(format!("{}: the tag: {}", shape.what, top.status));
    }
    for (how, _, bytes) in &shape.content {
        let kind = if *how == As::Blob {
            "blobs"
        } else {
            "manifests"
        };
        let got = client
            .get(&format!("/v2/{repo}/{kind}/{}", sha256(bytes)))
            .await;
        if got.status != 200 || got.body != *bytes {
            return Err(format!(
                "{} in {repo}: {kind}/{} {}",
                shape.what,
                sha256(bytes),
                got.status
            ));
        }
    }
    Ok(())
}

async fn server(strict: &str, keep: &str) -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_BLOBS__LEASE", "1s"),
        ("DRYPORT_HISTORY__KEEP", keep),
        ("DRYPORT_POLICY__STRICT", strict),
    ];
    Server::serve(home, &[], &env).await
}

/// Sweeps as often as leases can lead from one to the next, each after the end of the one before.
async fn sweeps(server: &Server) {
    for _ in 0..3 {
        tokio::time::sleep(LEASE + Duration::from_millis(100)).await;
        run_ok(&["gc", "--data", &server.dir()]);
    }
}

fn clean(server: &Server) {
    let (code, report) = damage::check(&server.data(), &["--deep"]);
    assert_eq!((code, &report["problems"]), (0, &json!([])), "{report:#}");
}

#[tokio::test]
async fn whatever_a_manifest_names_survives_and_goes_with_it() {
    let server = server("false", "0s").await;
    let (admin, shapes) = (server.admin(), shapes());
    let mut all = Vec::new();
    for (n, shape) in shapes.iter().enumerate() {
        for top_first in [false, true] {
            let repo = format!("r{n}/{top_first}");
            push(&admin, &repo, shape, top_first).await;
            all.push((repo, shape));
        }
    }
    clean(&server);
    sweeps(&server).await;
    for (repo, shape) in &all {
        whole(&admin, repo, shape).await.unwrap();
    }
    clean(&server);
    // Half of them go, and leave the other half whole though it shares every byte.
    for (repo, shape) in all.iter().filter(|(repo, _)| repo.ends_with("true")) {
        let top = format!("/v2/{repo}/manifests/{}", sha256(&shape.top));
        admin.delete(&top).await.expect(202);
    }
    sweeps(&server).await;
    for (repo, shape) in &all {
        let kept = repo.ends_with("false");
        assert_eq!(
            whole(&admin, repo, shape).await.is_ok(),
            kept,
            "{} {repo}",
            shape.what
        );
        if !kept {
            let show = run_ok(&["repo", "show", "--data", &server.dir(), repo, "--json"]);
            let show: Value = serde_json::from_str(&show).unwrap();
            assert_eq!(show["bytes"], 0, "{} {show}", shape.what);
        }
    }
    clean(&server);
}

#[tokio::test]
async fn a_strict_policy_takes_what_is_all_there() {
    let server = server("true", "0s").await;
    let admin = server.admin();
    for (n, shape) in shapes().iter().enumerate() {
        let repo = format!("r{n}");
        push(&admin, &repo, shape, false).await;
        whole(&admin, &repo, shape).await.unwrap();
        let path = format!("/v2/empty{n}/manifests/t");
        let kind = [("content-type", shape.media_type)];
        let put = admin.send("PUT", &path, &kind, &shape.top).await;
        put.refused(400, "MANIFEST_BLOB_UNKNOWN");
    }
}

#[tokio::test]
async fn the_past_shows_it_and_a_restore_brings_it_back() {
    let server = server("false", "1h").await;
    let (admin, shapes) = (server.admin(), shapes());
    for (n, shape) in shapes.iter().enumerate() {
        push(&admin, &format!("r{n}"), shape, false).await;
    }
    // Times of the past are whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let now = jiff::Timestamp::now();
    let then = now.strftime("%Y%m%dt%H%M%Sz").to_string();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for (n, shape) in shapes.iter().enumerate() {
        let mut gone = vec![&shape.top];
        gone.extend(
            shape
                .content
                .iter()
                .filter(|c| c.0 == As::Manifest)
                .map(|c| &c.2),
        );
        for manifest in gone {
            let path = format!("/v2/r{n}/manifests/{}", sha256(manifest));
            admin.delete(&path).await.expect(202);
        }
    }
    sweeps(&server).await;
    for (n, shape) in shapes.iter().enumerate() {
        for (how, _, bytes) in &shape.content {
            let kind = if *how == As::Blob {
                "blobs"
            } else {
                "manifests"
            };
            let path = format!("/v2/r{n}/{kind}/{}", sha256(bytes));
            assert_eq!(admin.get(&path).await.status, 404, "{} {path}", shape.what);
        }
        whole(&admin, &format!("at/{then}/r{n}"), shape)
            .await
            .unwrap();
        let (dir, tag) = (server.dir(), format!("r{n}:t"));
        let at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        run_ok(&["tag", "restore", "--data", &dir, &tag, "--at", &at]);
        whole(&admin, &format!("r{n}"), shape).await.unwrap();
    }
    sweeps(&server).await;
    for (n, shape) in shapes.iter().enumerate() {
        whole(&admin, &format!("r{n}"), shape).await.unwrap();
    }
    clean(&server);
}

#[tokio::test]
async fn a_check_names_the_tags_of_what_is_taken_away_and_a_push_heals() {
    let server = server("false", "0s").await;
    let (admin, shapes) = (server.admin(), shapes());
    let large = |shape: &Shape| {
        let found = shape
            .content
            .iter()
            .find(|(how, _, bytes)| *how == As::Blob && bytes.len() > 64 << 10);
        found.map(|(_, _, bytes)| bytes.clone())
    };
    for (n, shape) in shapes.iter().enumerate() {
        push(&admin, &format!("r{n}"), shape, n % 2 == 0).await;
    }
    let mut taken = 0;
    for (n, shape) in shapes.iter().enumerate() {
        let Some(bytes) = large(shape) else { continue };
        let digest = sha256(&bytes);
        let hex = digest.trim_start_matches("sha256:");
        let folder = server.data().join("blobs/sha256").join(&hex[..2]);
        let mut files = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path());
        let is_it = |file: &std::path::PathBuf| {
            file.file_name().unwrap().to_str().unwrap().starts_with(hex)
        };
        std::fs::remove_file(files.find(is_it).expect("a content file")).unwrap();
        let (code, report) = damage::check(&server.data(), &[]);
        let problem = report["problems"]
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["digest"] == digest.as_str());
        let problem = problem.unwrap_or_else(|| panic!("{}: {report:#}", shape.what));
        assert_eq!(
            (code, &problem["kind"]),
            (4, &json!("blob-missing")),
            "{problem}"
        );
        assert_eq!(problem["tags"], json!([format!("r{n}:t")]), "{problem}");
        damage::check(&server.data(), &["--repair"]);
        push(&admin, &format!("r{n}"), shape, false).await;
        whole(&admin, &format!("r{n}"), shape).await.unwrap();
        taken += 1;
    }
    assert_eq!(taken, 6);
    clean(&server);
}

/// What an older version left after it had collected what an index names.
#[tokio::test]
async fn a_check_names_the_tags_of_what_an_older_version_collected() {
    let server = server("false", "0s").await;
    let (admin, dir) = (server.admin(), server.dir());
    for (n, shape) in shapes().iter().enumerate() {
        let repo = format!("r{n}");
        put_manifest(&admin, &repo, "t", shape.media_type, &shape.top).await;
        let output = run(&["check", "--data", &dir, "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let named = report["problems"].as_array().unwrap();
        let tags: Vec<&Value> = named.iter().map(|p| &p["tags"]).collect();
        // Of what is said to be a manifest among manifests a mirror may leave out some, and a push may bring it later.
        let in_manifests = shape.top.windows(11).any(|w| w == b"\"manifests\"");
        let is_told = match shape.what {
            "a manifest that came as a blob" | "a cache in an index" => false,
            "an own type that names a manifest" => !in_manifests,
            _ => true,
        };
        assert_eq!(!named.is_empty(), is_told, "{}: {report:#}", shape.what);
        assert!(
            tags.iter()
                .all(|tags| **tags == json!([format!("{repo}:t")])),
            "{report:#}"
        );
        assert!(
            named.iter().all(|p| p["kind"] == "content-missing"),
            "{report:#}"
        );
        assert_eq!(
            output.status.code(),
            Some(if is_told { 4 } else { 0 }),
            "{}",
            text_of(&output)
        );
        push(&admin, &repo, shape, false).await;
        whole(&admin, &repo, shape).await.unwrap();
        clean(&server);
    }
}

/// An image that was pushed before its content, as the default policy allows, is no damage.
#[tokio::test]
async fn what_has_not_come_yet_is_no_damage() {
    let server = server("false", "0s").await;
    let admin = server.admin();
    let config = descriptor(OCI_CONFIG, b"not here");
    let mut early = image(b"{}", &[b"nor here"]);
    early["config"] = config;
    put_manifest(&admin, "a", "early", OCI_MANIFEST, &bytes_of(&early)).await;
    let sparse = list(
        OCI_INDEX,
        &[descriptor(OCI_MANIFEST, b"of another platform")],
    );
    put_manifest(&admin, "a", "sparse", OCI_INDEX, &sparse).await;
    clean(&server);
}
