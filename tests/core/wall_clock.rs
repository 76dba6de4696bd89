//! A wall clock that jumps six years and back: nothing expires by it but what must.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::core::disks::faulty::home;
use crate::harness::content::{OCI_MANIFEST, noise, push_blob, push_image, put_manifest, sha256};
use crate::harness::{ADMIN, SOON, Server, found, run_ok, skip, until};
use crate::http::abuse::metric;

/// The library that gives a process another clock, if it is installed.
pub fn faketime() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib")
        .ok()?
        .flatten()
        .find_map(|entry| {
            let library = entry.path().join("faketime/libfaketimeMT.so.1");
            library.exists().then_some(library)
        });
    if found.is_none() {
        skip("libfaketime is not installed (Debian package faketime)");
    }
    found
}

/// Whether a client that trusts the CA, and whose clock says this, can connect.
fn connects(server: &Server, library: &Path, clock: &str) -> bool {
    let ca = server.data().join("tls/ca.pem");
    let url = format!("https://localhost:{}/readyz", server.https);
    let done = Command::new("curl")
        .args(["-sf", "--max-time", "10", "--noproxy", "*", "--cacert"])
        .arg(ca)
        .arg(url)
        .env("LD_PRELOAD", library)
        .env("FAKETIME", clock)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .output()
        .unwrap();
    done.status.success()
}

async fn token(server: &Server) -> String {
    let service = server.service().await;
    let path = format!("/v2/token?service={service}&scope=repository:a:pull");
    let challenge = server.anonymous().get("/v2/").await;
    let realm = challenge.header("www-authenticate").to_owned();
    let realm = realm
        .split("realm=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let at = realm
        .split_once("://")
        .map_or(path.as_str(), |(_, rest)| &rest[rest.find('/').unwrap()..]);
    let path = format!("{at}?service={service}&scope=repository:a:pull");
    let reply = server.client(Some(ADMIN)).get(&path).await.expect(200);
    reply.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_six_years_both_ways() {
    let Some(library) = faketime() else { return };
    let home = home();
    let clock = home.path().join("clock");
    let set = |offset: &str| {
        let new = clock.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(&new, &clock).unwrap();
    };
    set("+0");
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
        ("DRYPORT_GC__INTERVAL", "1s"),
        ("DRYPORT_BLOBS__LEASE", "1h"),
        ("DRYPORT_UPLOADS__IDLE", "1h"),
        ("DRYPORT_HISTORY__KEEP", "1h"),
    ];
    let mut server = Server::serve(home, &[], &env).await;
    let admin = server.admin();
    let manifest = push_image(&admin, "a", "v", 1).await;
    push_image(&admin, "a", "v", 2).await;
    let leased = push_blob(&admin, "a", &noise(9, 50_000)).await;
    let mut uploads = Vec::new();
    for n in 0..2_u64 {
        let at = admin
            .post("/v2/a/blobs/uploads/")
            .await
            .expect(202)
            .location();
        let octets = [("content-type", "application/octet-stream")];
        let patched = admin.send("PATCH", &at, &octets, &noise(n, 400_000)).await;
        uploads.push(patched.expect(202).location());
    }
    let history = |server: &Server| {
        let dir = server.dir();
        let text = run_ok(&["tag", "history", "--data", &dir, "a:v", "--json"]);
        text.matches(&sha256(&manifest)[7..]).count()
    };
    let kept = history(&server);
    assert!(kept > 0);

    for (round, offset) in ["+6y", "+0", "-6y", "+0"].into_iter().enumerate() {
        let old = token(&server).await;
        server
            .bearer(&old)
            .get("/v2/a/manifests/v")
            .await
            .expect(200);
        set(offset);
        // While it runs, then as it starts: only then is nothing of an upload in memory.
        for restart in [false, true] {
            if restart {
                server.kill();
                server.restart().await;
            }
            let admin = server.admin();
            let what = format!("round {round} at {offset}");
            // What would expire has had its time.
            let sweeps = metric(&server, "dryport_gc_sweeps_total").await;
            until("two more sweeps", SOON, async || {
                metric(&server, "dryport_gc_sweeps_total").await >= sweeps + 2
            })
            .await;
            let refused = found(&what, SOON, async || {
                let reply = server.bearer(&old).get("/v2/a/manifests/v").await;
                (reply.status == 401).then_some(reply)
            });
            assert!(!refused.await.header("www-authenticate").is_empty());
            let new = token(&server).await;
            server
                .bearer(&new)
                .get("/v2/a/manifests/v")
                .await
                .expect(200);
            admin
                .head(&format!("/v2/a/blobs/{leased}"))
                .await
                .expect(200);
            assert_eq!(history(&server), kept, "{what}");
            let file = uploads[usize::from(restart)].clone();
            admin.get(&file).await.expect(204);
            let left = std::fs::read_dir(server.data().join("uploads"))
                .unwrap()
                .count();
            assert_eq!(left, 2, "{what}: an upload was given up");
            push_image(
                &admin,
                "a",
                &format!("new{round}{restart}"),
                50 + round as u64,
            )
            .await;
        }
        if offset != "-6y" {
            let what = format!("a certificate for {offset}");
            until(&what, SOON, async || connects(&server, &library, offset)).await;
        }
    }
    let what = "the log tells of the clock";
    until(what, SOON, async || server.log().contains("clock was set")).await;
    let dir = server.dir();
    let report = run_ok(&["gc", "--data", &dir, "--json"]);
    assert!(
        report.contains("\"freed_blobs\":0") || report.contains("\"freed_blobs\": 0"),
        "{report}"
    );
    let _ = put_manifest(&server.admin(), "a", "last", OCI_MANIFEST, &manifest).await;
}
