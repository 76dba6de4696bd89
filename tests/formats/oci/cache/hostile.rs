//! Upstreams that send what they should not: an error that says what, nothing visible, nothing leaked, no wait without end.

use std::time::Duration;

use super::{World, path, timed};
use crate::harness::content::{OCI_INDEX, OCI_MANIFEST, sha256};
use crate::harness::fake::{Answer, Fake};

const LAYER: usize = 2 << 20;

fn bent(mut answer: Answer) -> Answer {
    if let Some(last) = answer.body.last_mut() {
        *last ^= 1;
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_manifest_is_refused_and_makes_nothing() {
    let world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, 5_000);
    world.fake.bend(|_, answer| bent(answer));
    for reference in ["1.0", &image.digest] {
        let refused = world
            .get(&format!("manifests/{reference}"))
            .await
            .refused(502, "UNKNOWN");
        assert!(
            refused.text().contains("has the digest"),
            "{}",
            refused.text()
        );
    }
    assert!(!world.is_made());
    for (kind, body) in [
        (OCI_MANIFEST, b"{".to_vec()),
        (OCI_INDEX, b"[]".to_vec()),
        ("text/html", b"<html>".to_vec()),
        (OCI_MANIFEST, vec![b' '; 5 << 20]),
    ] {
        world
            .fake
            .bend(move |_, _| Answer::new(200, kind, body.clone()));
        let refused = world.get("manifests/2.0").await;
        assert_eq!(refused.status, 502, "{}", refused.text());
    }
    // Few bytes that unfold to many.
    let bomb = {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![b' '; 64 << 20]).unwrap();
        gzip.finish().unwrap()
    };
    world.fake.bend(move |_, _| {
        Answer::new(200, OCI_MANIFEST, bomb.clone()).with("Content-Encoding", "gzip")
    });
    assert_eq!(world.get("manifests/3.0").await.status, 502);
    assert!(!world.is_made());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_blob_is_never_whole_at_a_client() {
    let world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, LAYER);
    let digest = sha256(&image.layer);
    world.get("manifests/1.0").await.expect(200);
    let (anyone, blob) = (world.server.anonymous(), path(&format!("blobs/{digest}")));
    for bend in [
        (|answer| bent(answer)) as fn(Answer) -> Answer,
        |mut answer| {
            answer.body.truncate(LAYER / 2);
            answer
        },
        |mut answer| {
            answer.body.extend_from_slice(&vec![7; 100_000]);
            answer
        },
    ] {
        world.fake.bend(move |ask, answer| {
            if ask.path.contains("/blobs/") {
                return bend(answer);
            }
            answer
        });
        // The connection breaks, or an error comes; in no case all bytes.
        let (got, took) = timed(anyone.maybe("GET", &blob, &[], b"")).await;
        let is_right = |body: &[u8]| sha256(body) == digest;
        assert!(got.is_none_or(|got| got.status >= 500 || is_right(&got.body)));
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
    world.fake.straighten();
    let got = anyone.get(&blob).await.expect(200);
    assert!(got.body == image.layer);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_with_their_host() {
    let elsewhere = Fake::start();
    elsewhere.image("1.0", "amd64", 1, LAYER);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "robot:secret-word\n").unwrap();
    let from = file.path().to_str().unwrap().to_owned();
    let world = World::start(&["--creds-from", &from]).await;
    let image = world.fake.image("1.0", "amd64", 1, LAYER);
    let port = elsewhere.port;
    world.fake.bend(move |ask, answer| {
        if ask.header("authorization").is_empty() {
            return Answer::empty(401).with("WWW-Authenticate", "Basic realm=\"x\"");
        }
        if ask.path.contains("/blobs/") {
            let place = format!("http://127.0.0.1:{port}{}", ask.path);
            return Answer::empty(307).with("Location", place);
        }
        answer
    });
    world.get("manifests/1.0").await.expect(200);
    let blob = world.get(&format!("blobs/{}", sha256(&image.layer))).await;
    let seen = elsewhere.asked();
    assert!(
        seen.iter()
            .all(|ask| ask.header("authorization").is_empty()),
        "{seen:?}"
    );
    // An address of this machine is not asked because an upstream says so.
    let blob = blob.refused(403, "DENIED");
    assert!(blob.text().contains("is this machine"), "{}", blob.text());
    for text in [blob.text(), world.server.log()] {
        assert!(!text.contains("secret-word"));
    }
    // Endless redirects, and a log-in that is never enough.
    let own = world.fake.port;
    world.fake.bend(move |ask, _| {
        let place = format!("http://127.0.0.1:{own}{}", ask.path);
        Answer::empty(307).with("Location", place)
    });
    let refused = world.get("manifests/2.0").await;
    assert_eq!(refused.status, 502, "{}", refused.text());
    world
        .fake
        .bend(|_, _| Answer::empty(401).with("WWW-Authenticate", "Basic realm=\"x\""));
    let refused = world.get("manifests/3.0").await.refused(403, "DENIED");
    assert!(
        refused.text().contains("upstream far refuses"),
        "{}",
        refused.text()
    );
    assert!(world.fake.asked().len() < 40);
}

/// A length of 0 leaves no last byte to hold back: nothing is answered for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_no_bytes_is_the_empty_one() {
    let world = World::start(&[]).await;
    let image = world.fake.image("1.0", "amd64", 1, LAYER);
    let mut value = image.value.clone();
    value["layers"][0]["size"] = serde_json::json!(0);
    let bytes = crate::harness::content::bytes_of(&value);
    world.fake.manifest("odd", OCI_MANIFEST, &bytes);
    world.get("manifests/odd").await.expect(200);
    let blob = format!("blobs/{}", sha256(&image.layer));
    world.get(&blob).await.refused(404, "BLOB_UNKNOWN");
}

/// Who pulls is told nothing of the machine that serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_secret_is_told_in_the_log_alone() {
    let world = World::start(&[]).await;
    let file = world.server.home().join("login");
    std::fs::write(&file, "robot:secret-word\n").unwrap();
    let path = file.to_str().unwrap().to_owned();
    world.set(&["--creds-from", &path]);
    std::fs::remove_file(&file).unwrap();
    world.fake.image("1.0", "amd64", 1, 5_000);
    let refused = world.get("manifests/1.0").await.refused(503, "UNAVAILABLE");
    assert!(!refused.text().contains(&path), "{}", refused.text());
    assert!(world.server.log().contains(&path));
}
