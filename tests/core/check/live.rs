//! `dryport check` beside a running server, healing by pushes, fetching again, and the scrub.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::content::{
    OCI_MANIFEST, artifact, bytes_of, descriptor, image, noise, push_blob, push_image,
    put_manifest, sha256,
};
use crate::harness::damage::{Rows, check, kinds};
use crate::harness::{SOON, Server, until};
use dryport::store::Table;

/// The content file of a digest in a data directory.
fn file_of(server: &Server, digest: &str) -> std::path::PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let folder = server.data().join("blobs/sha256").join(&hex[..2]);
    let mut files = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    files
        .find(|p| p.to_str().unwrap().contains(hex))
        .expect("a content file")
}

#[tokio::test]
async fn beside_a_busy_server_nothing_is_found() {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_GC__INTERVAL", "100ms"),
        ("DRYPORT_BLOBS__LEASE", "2s"),
        ("DRYPORT_HISTORY__KEEP", "0s"),
    ];
    let server = Arc::new(Server::serve(home, &[], &env).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for worker in 0..4_u64 {
        let (server, stop) = (server.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            let admin = server.admin();
            let mut n = 0;
            // On a slow machine the checks are over before.
            while !stop.load(Ordering::Relaxed) || n < 4 {
                let repo = format!("r{}", n % 3);
                let seed = worker * 1000 + n % 7;
                let bytes = push_image(&admin, &repo, &format!("t{}", n % 5), seed).await;
                push_blob(&admin, &repo, &noise(seed, 20_000)).await;
                let subject = descriptor(OCI_MANIFEST, &bytes);
                push_blob(&admin, &repo, b"{}").await;
                let artifact = bytes_of(&artifact(&subject, "application/x", &n.to_string()));
                put_manifest(&admin, &repo, &sha256(&artifact), OCI_MANIFEST, &artifact).await;
                if n % 4 == 0 {
                    let path = format!("/v2/{repo}/manifests/{}", sha256(&artifact));
                    let reply = admin.delete(&path).await;
                    assert!([202, 404].contains(&reply.status), "{}", reply.text());
                }
                if n % 3 == 0 {
                    let path = format!("/v2/{repo}/manifests/{}", sha256(&bytes));
                    let reply = admin.delete(&path).await;
                    assert!([202, 404].contains(&reply.status), "{}", reply.text());
                }
                n += 1;
            }
        }));
    }
    let dir = server.data();
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let dir = dir.clone();
        let more: &[&str] = [&[][..], &["--deep", "--fast"], &["--repair"]][round % 3];
        let (code, report) = tokio::task::spawn_blocking(move || check(&dir, more))
            .await
            .unwrap();
        assert_eq!(kinds(&report), [""; 0], "{report:#}");
        assert_eq!(code, 0);
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_push_heals_what_is_damaged() {
    let server = Server::start().await;
    let admin = server.admin();
    let layer = noise(5, 100_000);
    push_blob(&admin, "a", &layer).await;
    let config = b"{\"os\":\"linux\"}";
    push_blob(&admin, "a", config).await;
    let manifest = bytes_of(&image(config, &[&layer]));
    put_manifest(&admin, "a", "v1", OCI_MANIFEST, &manifest).await;
    let digest = sha256(&layer);
    let path = format!("/v2/a/blobs/{digest}");
    admin.head(&path).await.expect(200);
    // From now on it is opened without a look into the store.
    assert_eq!(admin.get(&path).await.expect(200).body, layer);
    fs::write(file_of(&server, &digest), noise(6, 100_000)).unwrap();

    let (code, report) = check(&server.data(), &["--deep", "--repair"]);
    assert_eq!(
        (code, kinds(&report)),
        (4, vec!["blob-corrupt".to_owned()]),
        "{report:#}"
    );
    assert_eq!(report["problems"][0]["tags"][0], "a:v1");
    let kept = fs::read_dir(server.data().join("quarantine"))
        .unwrap()
        .count();
    assert_eq!(kept, 1, "{report:#}");
    // Clients look before they push: it must seem absent, for reading as well.
    admin.head(&path).await.expect(404);
    admin.get(&path).await.expect(404);
    admin.get("/v2/a/manifests/v1").await.expect(200);

    push_blob(&admin, "a", &layer).await;
    assert_eq!(admin.get(&path).await.expect(200).body, layer);
    let (code, report) = check(&server.data(), &["--deep"]);
    assert_eq!((code, kinds(&report)), (0, Vec::new()), "{report:#}");
}

#[tokio::test]
async fn a_push_heals_a_manifest() {
    let mut server = Server::start().await;
    let admin = server.admin();
    let bytes = push_image(&admin, "a", "v1", 1).await;
    let path = format!("/v2/a/manifests/{}", sha256(&bytes));
    server.signal("TERM");
    server.exit_code(SOON).await;
    {
        let rows = crate::harness::damage::Rows::open(&server.data());
        let digest: dryport::types::Digest = sha256(&bytes).parse().unwrap();
        rows.put(dryport::store::Table::Bytes, digest.as_key(), b"{}");
    }
    let (code, report) = check(&server.data(), &["--repair"]);
    assert_eq!(
        (code, kinds(&report)),
        (4, vec!["inline-corrupt".to_owned()]),
        "{report:#}"
    );
    server.restart().await;
    let admin = server.admin();
    admin.head(&path).await.expect(404);
    admin.head("/v2/a/manifests/v1").await.expect(404);
    put_manifest(&admin, "a", "v1", OCI_MANIFEST, &bytes).await;
    assert_eq!(admin.get(&path).await.expect(200).body, bytes);
    let (code, report) = check(&server.data(), &["--deep"]);
    assert_eq!((code, kinds(&report)), (0, Vec::new()), "{report:#}");
}

#[tokio::test]
async fn what_was_mirrored_is_fetched_again() {
    let (upstream, mut target) = (Server::start().await, Server::start().await);
    let layer = noise(21, 300_000);
    let client = upstream.admin();
    push_blob(&client, "team/app", &layer).await;
    let config = b"{\"os\":\"linux\"}";
    push_blob(&client, "team/app", config).await;
    let mut manifest = image(config, &[&layer]);
    manifest["annotations"] = serde_json::json!({"long": "x".repeat(90_000)});
    let manifest = bytes_of(&manifest);
    put_manifest(&client, "team/app", "v1", OCI_MANIFEST, &manifest).await;
    let source = format!("docker://{}/team/app:v1", upstream.host());
    crate::harness::run_ok(&["mirror", "--data", &target.dir(), &source, "--to", "copy"]);
    fs::remove_file(file_of(&target, &sha256(&layer))).unwrap();
    fs::write(file_of(&target, &sha256(&manifest)), b"broken").unwrap();

    let (code, report) = check(&target.data(), &[]);
    assert_eq!(code, 4);
    assert_eq!(
        kinds(&report),
        ["blob-missing", "blob-truncated"],
        "{report:#}"
    );
    let (code, report) = check(&target.data(), &["--repair"]);
    assert_eq!((code, &report["repaired"]), (0, &2.into()), "{report:#}");
    let anyone = target.anonymous();
    let blob = format!("/v2/copy/blobs/{}", sha256(&layer));
    assert_eq!(anyone.get(&blob).await.expect(200).body, layer);
    let tag = anyone.get("/v2/copy/manifests/v1").await.expect(200);
    assert_eq!(tag.body, manifest);
    assert_eq!(check(&target.data(), &["--deep"]).0, 0);

    // Without the upstream it is told and left, offline as well.
    drop(upstream);
    target.kill();
    fs::remove_file(file_of(&target, &sha256(&layer))).unwrap();
    let (code, report) = check(&target.data(), &["--repair"]);
    assert_eq!(code, 4);
    let how = report["problems"][0]["how"].as_str().unwrap();
    assert!(how.contains("fetching it again failed"), "{report:#}");
}

/// From a registry that serves no HEAD, codes what it likes and gives no parts.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_fetched_again_from_an_odd_registry() {
    let (fake, target) = (crate::harness::fake::Fake::start(), Server::start().await);
    let image = fake.image("v1", "amd64", 1, 300_000);
    let (dir, source) = (target.dir(), fake.source(":v1"));
    crate::harness::run_ok(&["mirror", "--data", &dir, &source, "--to", "copy"]);
    let layer = sha256(&image.layer);
    for status in [405, 501, 403, 500, 200] {
        fs::write(file_of(&target, &layer), b"broken").unwrap();
        fake.bend(move |ask, ordinary| {
            if ask.method == "HEAD" {
                crate::harness::fake::Answer::empty(status).with("Transfer-Encoding", "chunked")
            } else {
                ordinary
            }
        });
        let (code, report) = check(&target.data(), &["--repair"]);
        assert_eq!(
            (code, &report["repaired"]),
            (0, &1.into()),
            "{status}: {report:#}"
        );
        let blob = format!("/v2/copy/blobs/{layer}");
        assert_eq!(
            target.anonymous().get(&blob).await.expect(200).body,
            image.layer
        );
    }
}

#[tokio::test]
async fn the_scrub_finds_damage_and_goes_on_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let env = [("DRYPORT_CHECK__EVERY", "2s")];
    let mut server = Server::serve(home, &[], &env).await;
    let admin = server.admin();
    let digest = push_blob(&admin, "a", &noise(3, 80_000)).await;
    push_image(&admin, "a", "v1", 4).await;
    let full = "dryport_scrub_last_full_timestamp_seconds";
    until("the scrub's figures come", SOON, async || {
        number(&server, full).await > 0 && number(&server, "dryport_scrub_blobs_total").await >= 4
    })
    .await;
    let path = format!("/v2/a/blobs/{digest}");
    admin.get(&path).await.expect(200);
    fs::write(file_of(&server, &digest), noise(4, 80_000)).unwrap();
    until("the scrub's figures come", SOON, async || {
        number(&server, "dryport_scrub_damaged_total").await == 1
    })
    .await;
    // Its file is still there, and memory knew where.
    admin.head(&path).await.expect(404);
    admin.get(&path).await.expect(404);
    assert!(server.log().contains(&digest));
    server.kill();
    server.restart().await;
    until("the scrub's figures come", SOON, async || {
        number(&server, full).await > 0
    })
    .await;
}

async fn number(server: &Server, name: &str) -> u64 {
    let text = server.admin().get("/metrics").await.expect(200).text();
    let line = text.lines().find(|l| l.starts_with(&format!("{name} ")));
    let value = line.expect(name).rsplit(' ').next().unwrap();
    value.parse().unwrap()
}

#[tokio::test]
async fn what_the_scrub_finds_damaged_in_the_database_stays_there() {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let env = [("DRYPORT_CHECK__EVERY", "1s")];
    let mut server = Server::serve(home, &[], &env).await;
    let bytes = noise(3, 40_000);
    let digest = push_blob(&server.admin(), "a", &bytes).await;
    let key: dryport::types::Digest = digest.parse().unwrap();
    server.kill();
    let (row, mut odd) = {
        let rows = Rows::open(&server.data());
        let row = rows.get(Table::Pages, key.as_key()).unwrap();
        let mut odd = row.clone();
        odd[1000] ^= 1;
        rows.put(Table::Pages, key.as_key(), &odd);
        (row, odd)
    };
    server.restart().await;
    until("the scrub's figures come", SOON, async || {
        number(&server, "dryport_scrub_damaged_total").await == 1
    })
    .await;
    let path = format!("/v2/a/blobs/{digest}");
    server.admin().head(&path).await.expect(404);
    server.kill();
    let rows = Rows::open(&server.data());
    assert_eq!(rows.get(Table::Pages, key.as_key()).unwrap(), odd);
    // Nothing is thrown away before a copy is kept.
    odd.clone_from(&row);
    rows.put(Table::Pages, key.as_key(), &odd);
    drop(rows);
    let (code, report) = check(&server.data(), &["--repair"]);
    assert_eq!((code, kinds(&report)), (0, vec!["blob-whole-again".into()]));
    server.restart().await;
    assert!(server.admin().get(&path).await.expect(200).body == bytes);
}

/// A folder that is gone may be a disk that is missing for a while: the scrub marks nothing that was in it.
#[tokio::test]
async fn the_scrub_marks_nothing_where_a_folder_is_missing() {
    let home = tempfile::tempdir().unwrap();
    crate::harness::init(&home.path().join("data"), &[]);
    let server = Server::serve(home, &[], &[("DRYPORT_CHECK__EVERY", "2s")]).await;
    let admin = server.admin();
    let layer = noise(5, 80_000);
    let digest = push_blob(&admin, "a", &layer).await;
    let folder = file_of(&server, &digest).parent().unwrap().to_owned();
    let away = server.home().join("away");
    fs::rename(&folder, &away).unwrap();
    let figures = ["unreadable", "damaged"].map(|what| format!("dryport_scrub_{what}_total"));
    until("the scrub comes by", SOON, async || {
        number(&server, &figures[0]).await + number(&server, &figures[1]).await > 0
    })
    .await;
    fs::rename(&away, &folder).unwrap();
    assert_eq!(number(&server, &figures[1]).await, 0);
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(admin.get(&path).await.expect(200).body, layer);
}
