//! Collection: what nothing needs goes, what a client may rely on stays, and the past can be asked for until it is gone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::clock::pass;
use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, artifact, bytes_of, descriptor, image, noise, push_blob, push_image,
    put_manifest, sha256,
};
use crate::harness::{Client, SOON, Server, found, init, run, run_ok, text_of, until};

/// A little more than a lease of an hour.
const LEASE: Duration = Duration::from_secs(3_601);

/// A server that sweeps this often (`0s`: only when asked), with a lease and a history of these lengths.
async fn sweeping(interval: &str, lease: &str, keep: &str) -> Server {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let env = [
        ("DRYPORT_GC__INTERVAL", interval),
        ("DRYPORT_BLOBS__LEASE", lease),
        ("DRYPORT_HISTORY__KEEP", keep),
    ];
    Server::serve(home, &[], &env).await
}

async fn server(lease: &str, keep: &str) -> Server {
    sweeping("0s", lease, keep).await
}

fn gc(server: &Server, more: &[&str]) -> Value {
    let dir = server.dir();
    let mut args = vec!["gc", "--data", &dir, "--json"];
    args.extend(more);
    serde_json::from_str(&run_ok(&args)).unwrap()
}

fn count(report: &Value, key: &str) -> u64 {
    report[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {report}"))
}

/// Content files below DIR/blobs.
fn files(server: &Server) -> usize {
    let mut open = vec![server.data().join("blobs")];
    let mut found = 0;
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found += 1;
            }
        }
    }
    found
}

async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn pulls(client: &Client, repo: &str, reference: &str) {
    let manifest = client
        .get(&format!("/v2/{repo}/manifests/{reference}"))
        .await
        .expect(200)
        .json();
    let mut blobs = manifest["layers"].as_array().cloned().unwrap_or_default();
    blobs.push(manifest["config"].clone());
    for blob in blobs {
        let digest = blob["digest"].as_str().unwrap();
        let reply = client
            .get(&format!("/v2/{repo}/blobs/{digest}"))
            .await
            .expect(200);
        assert_eq!(sha256(&reply.body), digest);
    }
}

#[tokio::test]
async fn an_unused_blob_goes_with_its_lease_and_comes_again() {
    let mut server = server("1h", "0s").await;
    let admin = server.admin();
    // In a file, in one row, and in two.
    let (large, small, two) = (noise(1, 100_000), noise(2, 100), noise(3, 9_000));
    for bytes in [&large, &small, &two] {
        push_blob(&admin, "a", bytes).await;
    }
    let report = gc(&server, &[]);
    assert_eq!(count(&report, "freed_blobs"), 0, "{report}");
    assert_eq!(count(&report, "kept_by_lease"), 3, "{report}");
    pass(&mut server, LEASE).await;
    let report = gc(&server, &[]);
    assert_eq!(count(&report, "freed_blobs"), 3, "{report}");
    assert_eq!(count(&report, "freed_bytes"), 109_100, "{report}");
    assert_eq!(count(&report, "files_removed"), 1, "{report}");
    assert_eq!(files(&server), 0);
    // Nor is there a row of theirs.
    run_ok(&["check", "--data", &server.dir()]);
    for bytes in [&large, &small, &two] {
        let path = format!("/v2/a/blobs/{}", sha256(bytes));
        admin.head(&path).await.expect(404);
        push_blob(&admin, "a", bytes).await;
        assert_eq!(&admin.get(&path).await.expect(200).body, bytes);
    }
    let shown: Value = serde_json::from_str(&run_ok(&[
        "repo",
        "show",
        "--data",
        &server.dir(),
        "a",
        "--json",
    ]))
    .unwrap();
    assert_eq!(shown["bytes"], 109_100);
}

#[tokio::test]
async fn what_a_tag_needs_stays_and_goes_some_time_after_it() {
    let mut server = server("1h", "0s").await;
    let admin = server.admin();
    let (config, layer) = (b"{\"os\":\"linux\"}".to_vec(), noise(3, 150_000));
    push_blob(&admin, "team/app", &config).await;
    push_blob(&admin, "team/app", &layer).await;
    let manifest = bytes_of(&image(&config, &[&layer]));
    let digest = put_manifest(&admin, "team/app", "v1", OCI_MANIFEST, &manifest).await;
    pass(&mut server, LEASE).await;
    gc(&server, &[]);
    pulls(&admin, "team/app", "v1").await;

    admin.delete("/v2/team/app/manifests/v1").await.expect(202);
    // Who resolved the tag a moment ago still finds everything.
    gc(&server, &[]);
    pulls(&admin, "team/app", &digest).await;
    pass(&mut server, LEASE).await;
    let first = gc(&server, &[]);
    assert_eq!(count(&first, "manifests_removed"), 1, "{first}");
    admin
        .get(&format!("/v2/team/app/manifests/{digest}"))
        .await
        .expect(404);
    // A pull that had the manifest finds the layers for one more lease.
    admin
        .head(&format!("/v2/team/app/blobs/{}", sha256(&layer)))
        .await
        .expect(200);
    pass(&mut server, LEASE).await;
    gc(&server, &[]);
    assert_eq!(files(&server), 0);
    let shown: Value = serde_json::from_str(&run_ok(&[
        "repo",
        "show",
        "--data",
        &server.dir(),
        "team/app",
        "--json",
    ]))
    .unwrap();
    assert_eq!(
        (&shown["bytes"], &shown["manifests"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn shared_layers_stay_while_one_repository_needs_them() {
    let server = server("1s", "0s").await;
    let admin = server.admin();
    push_image(&admin, "one", "v1", 7).await;
    push_image(&admin, "two", "v1", 7).await;
    run_ok(&["repo", "delete", "--data", &server.dir(), "one"]);
    sleep_ms(1100).await;
    gc(&server, &[]);
    pulls(&admin, "two", "v1").await;
    let only: Value = gc(&server, &["--dry-run"]);
    assert_eq!(only["only_here"][0]["name"], "two", "{only}");
    assert_eq!(only["only_here"][0]["blobs"], 3, "{only}");
    run_ok(&["repo", "delete", "--data", &server.dir(), "two"]);
    sleep_ms(1100).await;
    let report = gc(&server, &[]);
    assert_eq!(count(&report, "freed_blobs"), 3, "{report}");
    assert_eq!(count(&gc(&server, &["--dry-run"]), "examined"), 0);
}

/// Asks for `path` with HEAD over and over, longer than a lease of 2 s, with a sweep after each; whether that was done in
/// time. Where the machine let a lease end in between, nobody promised anything.
async fn stays_while_asked_for(server: &Server, path: &str) -> bool {
    let (admin, mut promised) = (server.admin(), Instant::now());
    for _ in 0..4 {
        sleep_ms(900).await;
        let asks = Instant::now();
        let reply = admin.head(path).await;
        if promised.elapsed() >= Duration::from_secs(2) {
            return false;
        }
        reply.expect(200);
        gc(server, &[]);
        promised = asks;
    }
    // The last of it is to be used, too.
    promised.elapsed() < Duration::from_secs(1)
}

#[tokio::test]
async fn a_head_is_a_promise() {
    let server = server("2s", "0s").await;
    let admin = server.admin();
    let mut seed = 4;
    let child = found("a child that is used in time", SOON, async || {
        seed += 1;
        let (config, layer) = (b"{\"os\":\"linux\"}".to_vec(), noise(seed, 90_000));
        push_blob(&admin, "a", &config).await;
        push_blob(&admin, "a", &layer).await;
        let child = bytes_of(&image(&config, &[&layer]));
        let digest = put_manifest(&admin, "a", &sha256(&child), OCI_MANIFEST, &child).await;
        let path = format!("/v2/a/manifests/{digest}");
        stays_while_asked_for(&server, &path).await.then_some(child)
    })
    .await;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [descriptor(OCI_MANIFEST, &child)]});
    put_manifest(&admin, "a", "v1", OCI_INDEX, &bytes_of(&index)).await;
    sleep_ms(2100).await;
    gc(&server, &[]);
    pulls(&admin, "a", &sha256(&child)).await;

    let path = found("a blob that is asked for in time", SOON, async || {
        seed += 1;
        let digest = push_blob(&admin, "a", &noise(seed, 90_000)).await;
        let path = format!("/v2/a/blobs/{digest}");
        stays_while_asked_for(&server, &path).await.then_some(path)
    })
    .await;
    sleep_ms(2100).await;
    gc(&server, &[]);
    admin.head(&path).await.expect(404);
}

#[tokio::test]
async fn a_referrer_lives_as_long_as_its_subject() {
    let server = server("1s", "0s").await;
    let admin = server.admin();
    let manifest = push_image(&admin, "a", "v1", 8).await;
    push_blob(&admin, "a", b"{}").await;
    let note = artifact(&descriptor(OCI_MANIFEST, &manifest), "text/note", "n");
    let note = bytes_of(&note);
    put_manifest(&admin, "a", &sha256(&note), OCI_MANIFEST, &note).await;
    sleep_ms(1100).await;
    gc(&server, &[]);
    let path = format!("/v2/a/referrers/{}", sha256(&manifest));
    let list = admin.get(&path).await.expect(200).json();
    assert_eq!(list["manifests"].as_array().unwrap().len(), 1);
    admin
        .delete(&format!("/v2/a/manifests/{}", sha256(&manifest)))
        .await
        .expect(202);
    for _ in 0..3 {
        sleep_ms(1100).await;
        gc(&server, &[]);
    }
    let list = admin.get(&path).await.expect(200).json();
    assert_eq!(list["manifests"].as_array().unwrap().len(), 0);
    assert_eq!(count(&gc(&server, &["--dry-run"]), "examined"), 0);
}

#[tokio::test]
async fn removed_things_come_back_until_the_history_is_purged() {
    let server = server("1s", "1h").await;
    let admin = server.admin();
    let (config, layer) = (b"{\"os\":\"linux\"}".to_vec(), noise(9, 200_000));
    push_blob(&admin, "a", &config).await;
    push_blob(&admin, "a", &layer).await;
    let child = bytes_of(&image(&config, &[&layer]));
    put_manifest(&admin, "a", &sha256(&child), OCI_MANIFEST, &child).await;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [descriptor(OCI_MANIFEST, &child)]});
    let index = bytes_of(&index);
    put_manifest(&admin, "a", "v1", OCI_INDEX, &index).await;
    push_image(&admin, "a", "v1", 10).await;
    for digest in [sha256(&index), sha256(&child)] {
        admin
            .delete(&format!("/v2/a/manifests/{digest}"))
            .await
            .expect(202);
    }
    sleep_ms(1100).await;
    let report = gc(&server, &[]);
    assert_eq!(count(&report, "freed_blobs"), 0, "{report}");
    assert!(count(&report, "kept_by_history") >= 3, "{report}");

    let dir = server.dir();
    let history = run_ok(&["tag", "history", "--data", &dir, "a:v1", "--json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let then = history
        .as_array()
        .unwrap()
        .iter()
        .find(|change| change["digest"] == sha256(&index).as_str())
        .unwrap();
    let rev = then["rev"].to_string();
    run_ok(&["tag", "restore", "--data", &dir, "a:v1", "--rev", &rev]);
    let got = admin.get("/v2/a/manifests/v1").await.expect(200);
    assert_eq!(got.body, index);
    pulls(&admin, "a", &sha256(&child)).await;

    // The layer was deleted by hand meanwhile: restoring shows it again.
    for digest in [sha256(&index), sha256(&child)] {
        admin
            .delete(&format!("/v2/a/manifests/{digest}"))
            .await
            .expect(202);
    }
    let blob = format!("/v2/a/blobs/{}", sha256(&layer));
    admin.delete(&blob).await.expect(202);
    gc(&server, &[]);
    run_ok(&["tag", "restore", "--data", &dir, "a:v1", "--rev", &rev]);
    pulls(&admin, "a", &sha256(&child)).await;

    admin
        .delete(&format!("/v2/a/manifests/{}", sha256(&index)))
        .await
        .expect(202);
    let report = gc(&server, &["--purge-history"]);
    assert!(count(&report, "history_dropped") >= 2, "{report}");
    let late = run(&["tag", "restore", "--data", &dir, "a:v1", "--rev", &rev]);
    assert_eq!(late.status.code(), Some(3), "{}", text_of(&late));
    assert!(
        text_of(&late).contains("is kept from revision"),
        "{}",
        text_of(&late)
    );
}

#[tokio::test]
async fn the_past_is_pulled_by_a_name() {
    let server = server("1h", "1h").await;
    let admin = server.admin();
    let old = push_image(&admin, "team/app", "v1", 11).await;
    push_image(&admin, "team/app", "gone", 12).await;
    sleep_ms(1100).await;
    let now = jiff::Timestamp::now();
    let then = now.strftime("%Y%m%dt%H%M%Sz").to_string();
    sleep_ms(1100).await;
    let new = push_image(&admin, "team/app", "v1", 13).await;
    push_image(&admin, "team/app", "v2", 14).await;
    admin
        .delete("/v2/team/app/manifests/gone")
        .await
        .expect(202);
    admin
        .delete(&format!("/v2/team/app/manifests/{}", sha256(&old)))
        .await
        .expect(202);

    let past = format!("at/{then}/team/app");
    let got = admin
        .get(&format!("/v2/{past}/manifests/v1"))
        .await
        .expect(200);
    assert_eq!(got.body, old);
    pulls(&admin, &past, "v1").await;
    pulls(&server.anonymous(), &past, "gone").await;
    let tags = admin
        .get(&format!("/v2/{past}/tags/list"))
        .await
        .expect(200);
    assert_eq!(tags.json()["tags"], json!(["gone", "v1"]));
    let page = admin
        .get(&format!("/v2/{past}/tags/list?n=1"))
        .await
        .expect(200);
    assert_eq!(page.json()["tags"], json!(["gone"]));
    admin
        .get(&format!("/v2/{past}/manifests/v2"))
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    let layer = noise(14, 2000);
    admin
        .get(&format!("/v2/{past}/blobs/{}", sha256(&layer)))
        .await
        .refused(404, "BLOB_UNKNOWN");
    let then = got.json()["layers"][0]["digest"]
        .as_str()
        .expect("one")
        .to_owned();
    for (digest, status) in [(then, 304), (sha256(&layer), 404)] {
        let (path, tag) = (
            format!("/v2/{past}/blobs/{digest}"),
            format!("\"{digest}\""),
        );
        admin
            .send("GET", &path, &[("if-none-match", &tag)], b"")
            .await
            .expect(status);
    }
    assert_eq!(
        admin
            .get("/v2/team/app/manifests/v1")
            .await
            .expect(200)
            .body,
        new
    );
    admin
        .send(
            "PUT",
            &format!("/v2/{past}/manifests/v1"),
            &[("content-type", OCI_MANIFEST)],
            &new,
        )
        .await
        .refused(403, "DENIED");
    admin
        .post(&format!("/v2/{past}/blobs/uploads/"))
        .await
        .refused(403, "DENIED");
    // Before there was anything, and for a day that is not over yet.
    admin
        .get("/v2/at/20200101/team/app/manifests/v1")
        .await
        .expect(404);
    admin
        .get("/v2/at/29990101/team/app/manifests/v2")
        .await
        .expect(200);
}

#[tokio::test]
async fn a_repository_has_its_own_history() {
    let server = server("1s", "1h").await;
    let admin = server.admin();
    for repo in ["short", "long"] {
        push_image(&admin, repo, "v1", 20).await;
        push_image(&admin, repo, "v1", 21).await;
    }
    let dir = server.dir();
    run_ok(&[
        "repo",
        "set",
        "--data",
        &dir,
        "short",
        "--history-keep",
        "0s",
    ]);
    sleep_ms(1100).await;
    gc(&server, &[]);
    let restore = |repo: &str| {
        let image = format!("{repo}:v1");
        run(&["tag", "restore", "--data", &dir, &image, "--rev", "1"])
    };
    assert_eq!(restore("short").status.code(), Some(3));
    assert_eq!(restore("long").status.code(), Some(0));
    run_ok(&[
        "repo",
        "set",
        "--data",
        &dir,
        "long",
        "--history-keep",
        "default",
    ]);
}

#[tokio::test]
async fn the_server_sweeps_by_itself_and_after_a_crash() {
    let mut server = sweeping("200ms", "1s", "0s").await;
    let admin = server.admin();
    push_blob(&admin, "a", &noise(30, 100_000)).await;
    server.kill();
    server.restart().await;
    until("the file goes", SOON, async || files(&server) == 0).await;
    // The line comes after the last file is gone.
    until("the line", SOON, async || server.log().contains("swept")).await;
}

/// While something needs a manifest, HEAD renews nothing; when that goes, the client must still have time to use the answer.
#[tokio::test]
async fn what_head_found_outlives_what_needed_it() {
    let mut server = server("1h", "0s").await;
    let admin = server.admin();
    let child = push_image(&admin, "a", "v1", 40).await;
    let index = bytes_of(&json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, &child)],
    }));
    put_manifest(&admin, "a", "v1", OCI_INDEX, &index).await;
    push_blob(&admin, "a", b"{}").await;
    let note = bytes_of(&artifact(&descriptor(OCI_INDEX, &index), "a/b", "note"));
    put_manifest(&admin, "a", &sha256(&note), OCI_MANIFEST, &note).await;
    pass(&mut server, LEASE).await;
    gc(&server, &[]);
    let paths = [&child, &note].map(|bytes| format!("/v2/a/manifests/{}", sha256(bytes)));
    for path in &paths {
        admin.head(path).await.expect(200);
    }
    admin
        .delete(&format!("/v2/a/manifests/{}", sha256(&index)))
        .await
        .expect(202);
    for _ in 0..3 {
        gc(&server, &[]);
    }
    for path in &paths {
        admin.get(path).await.expect(200);
    }
    pass(&mut server, LEASE).await;
    for _ in 0..3 {
        gc(&server, &[]);
    }
    for path in &paths {
        admin.get(path).await.expect(404);
    }
}

/// A link that only the history needs lapses. It came into use again meanwhile, its lease ended unnoticed, and then the image
/// was deleted: whoever pulls that image has a lease from the delete on, as with any other.
#[tokio::test]
async fn a_pull_outlives_a_delete_though_an_older_lease_of_its_layer_ended() {
    let mut server = server("1h", "10h").await;
    let admin = server.admin();
    let layer = noise(50, 100_000);
    push_blob(&admin, "a", &layer).await;
    push_blob(&admin, "a", b"{}").await;
    let images = [1, 2].map(|n| {
        let mut image = image(b"{}", &[&layer]);
        image["annotations"] = json!({"number": n.to_string()});
        bytes_of(&image)
    });
    let [first, second] = images
        .each_ref()
        .map(|i| format!("/v2/a/manifests/{}", sha256(i)));
    let blob = format!("/v2/a/blobs/{}", sha256(&layer));
    put_manifest(&admin, "a", "v1", OCI_MANIFEST, &images[0]).await;
    admin.delete(&first).await.expect(202);
    gc(&server, &[]);
    put_manifest(&admin, "a", "v1", OCI_MANIFEST, &images[1]).await;
    pass(&mut server, LEASE).await;
    admin.delete(&second).await.expect(202);
    gc(&server, &[]);
    admin.get(&blob).await.expect(200);
    pass(&mut server, LEASE).await;
    gc(&server, &[]);
    admin.head(&blob).await.expect(404);
    run_ok(&["check", "--data", &server.dir()]);
}
