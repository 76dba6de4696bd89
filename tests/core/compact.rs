//! `dryport gc --compact`: the database gives back to the disk what it has free.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::core::disks::full::Volume;
use crate::harness::content::{noise, push_image, sha256};
use crate::harness::{Client, SOON, Server, dryport, init, run, run_ok, text_of, until_blocking};

/// What the server, and a command without one, are told: what was deleted goes at once.
const ENV: [(&str, &str); 4] = [
    ("DRYPORT_GC__INTERVAL", "0s"),
    ("DRYPORT_BLOBS__LEASE", "1s"),
    ("DRYPORT_HISTORY__KEEP", "0s"),
    ("DRYPORT_BLOBS__RESERVE", "0"),
];

fn gc(dir: &str, more: &[&str]) -> Output {
    let mut args = vec!["gc", "--data", dir, "--purge-history"];
    args.extend(more);
    dryport(&args).envs(ENV).output().unwrap()
}

fn length(data: &Path) -> u64 {
    std::fs::metadata(data.join("meta.redb")).unwrap().len()
}

async fn stop(server: &mut Server) {
    server.signal("TERM");
    assert_eq!(server.exit_code(SOON).await, Some(0));
}

/// Whether a small blob was taken; else the disk is full.
async fn small(admin: &Client, n: u64) -> bool {
    let bytes = noise(n, 65_536);
    let path = format!("/v2/old/blobs/uploads/?digest={}", sha256(&bytes));
    let octets = [("content-type", "application/octet-stream")];
    let reply = admin.send("POST", &path, &octets, &bytes).await;
    assert!(matches!(reply.status, 201 | 507), "{}", reply.text());
    reply.status == 201
}

/// The server starts again, has everything that was kept, and takes what is new.
async fn goes_on(mut server: Server, tags: &[&str]) {
    server.restart().await;
    let admin = server.admin();
    for tag in tags {
        let path = format!("/v2/app/manifests/{tag}");
        let manifest = admin.get(&path).await.expect(200).json();
        for layer in manifest["layers"].as_array().unwrap() {
            let digest = layer["digest"].as_str().unwrap();
            let blob = admin.get(&format!("/v2/app/blobs/{digest}")).await;
            assert_eq!(sha256(&blob.expect(200).body), digest);
        }
    }
    assert!(small(&admin, 1000).await);
    run_ok(&["check", "--deep", "--data", &server.dir()]);
}

#[tokio::test]
async fn the_database_gives_back_what_went() {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let mut server = Server::serve(home, &[], &ENV).await;
    let (admin, dir) = (server.admin(), server.dir());
    for n in 0..150 {
        assert!(small(&admin, 1000 + n).await);
        // What stays lies among what goes.
        if n % 50 == 49 {
            push_image(&admin, "app", &format!("{n}"), n).await;
        }
    }
    let refused = gc(&dir, &["--compact"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text_of(&refused));
    assert!(text_of(&refused).contains("Stop the server"));
    let wrong = run(&["gc", "--data", &dir, "--compact", "--dry-run"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text_of(&wrong));

    run_ok(&["repo", "delete", "--data", &dir, "old"]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stop(&mut server).await;
    let before = length(&server.data());
    let done = gc(&dir, &["--compact", "--json"]);
    assert!(done.status.success(), "{}", text_of(&done));
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    let after = length(&server.data());
    assert!(
        done["database"]["before"].as_u64().unwrap() > after,
        "{done}"
    );
    assert_eq!(done["database"]["after"], after, "{done}");
    assert!(after < before / 4, "{before} -> {after}");
    assert!(done["freed_blobs"].as_u64().unwrap() >= 150, "{done}");
    // Once more, for people: there is nothing left to give.
    let again = gc(&dir, &["--compact"]);
    assert!(again.status.success(), "{}", text_of(&again));
    assert!(text_of(&again).contains("The database has "));
    assert!(length(&server.data()) < before / 4);

    goes_on(server, &["49", "99", "149"]).await;
}

/// A full disk may refuse the first change: then the reserve is given up, the database is opened again, and one goes through.
fn in_the_end(change: impl Fn() -> Output) {
    until_blocking("a change goes through", SOON, || change().status.success());
}

#[tokio::test]
async fn a_full_disk_gets_its_room_back() {
    let Some(volume) = Volume::mount("ext4", 96) else {
        return;
    };
    let mut server = Server::serve(volume.home(), &[], &ENV).await;
    let (admin, dir) = (server.admin(), server.dir());
    push_image(&admin, "app", "1", 1).await;
    let mut n = 0;
    while small(&admin, n).await {
        n += 1;
    }
    assert!(n > 300, "{n}");
    volume.fill();
    in_the_end(|| run(&["repo", "delete", "--data", &dir, "old"]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stop(&mut server).await;
    volume.fill();
    assert_eq!(volume.free(), 0);
    in_the_end(|| gc(&dir, &["--compact"]));
    eprintln!("{n} blobs, then {} bytes free", volume.free());
    assert!(volume.free() > 30 << 20, "{} free", volume.free());
    goes_on(server, &["1"]).await;
}
