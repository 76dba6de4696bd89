//! A limit of open files that is too low: who comes waits or is told to come again, and nothing spins.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::core::disks::faulty::home;
use crate::harness::clock::pass;
use crate::harness::content::{
    OCI_INDEX, OCI_MANIFEST, bytes_of, image, noise, push_blob, push_image, put_manifest, sha256,
};
use crate::harness::{SOON, Server, run_ok, text_of, until};

fn limit_files(server: &Server, files: usize) {
    let pid = server.pid().to_string();
    let limit = format!("--nofile={files}:4096");
    let set = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .output()
        .unwrap();
    assert!(set.status.success(), "{}", text_of(&set));
}

/// The number that the next file would get: what a limit must be for nothing more to be opened.
fn next_file(server: &Server) -> usize {
    let open: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    (0..4096)
        .find(|n: &usize| !open.contains(&n.to_string()))
        .unwrap()
}

/// Whether the server has a content file open.
fn has_content_open(server: &Server) -> bool {
    let blobs = server.data().join("blobs");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    // One may be closed by now.
    fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .any(|to| to.starts_with(&blobs))
}

/// User and system time so far.
fn cpu(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_and_sixty_four_files() {
    let server = Server::serve_under(&["prlimit", "--nofile=64:64"], home(), &[], &[]).await;
    let admin = server.admin();
    let blob = noise(1, 1_000_000);
    let digest = push_blob(&admin, "a", &blob).await;
    let path = Arc::new(format!("/v2/a/blobs/{digest}"));
    let pulled = Arc::new(AtomicU64::new(0));
    let all: Vec<_> = (0..200)
        .map(|_| {
            let (client, path, pulled) = (server.admin(), Arc::clone(&path), Arc::clone(&pulled));
            tokio::spawn(async move {
                for _ in 0..2 {
                    // A connection at rest may go for another one just as its client asks again; a client repeats that.
                    let end = Instant::now() + SOON;
                    let reply = loop {
                        if let Some(reply) = client.maybe("GET", &path, &[], b"").await {
                            break reply;
                        }
                        assert!(Instant::now() < end, "no answer");
                    };
                    if reply.status == 200 {
                        assert_eq!(reply.body.len(), 1_000_000);
                        pulled.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(reply.status, 503, "{}", reply.text());
                        assert!(!reply.header("retry-after").is_empty());
                    }
                }
            })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    let pulled = pulled.load(Ordering::Relaxed);
    assert!(pulled >= 200, "only {pulled} of 400 pulls were pulled");
    push_image(&server.admin(), "a", "after", 1).await;
    let failed = server.log().matches("cannot be accepted").count();
    assert!(failed <= 2, "{failed} lines about failed accepts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_left_to_open() {
    let server = Server::serve(home(), &[], &[]).await;
    let admin = server.admin();
    let digest = push_blob(&admin, "a", &noise(1, 500_000)).await;
    let path = format!("/v2/a/blobs/{digest}");
    admin.get(&path).await.expect(200);
    let what = "the file of the last answer is closed";
    until(what, SOON, async || !has_content_open(&server)).await;
    limit_files(&server, next_file(&server));
    // On the connection that is open.
    let reply = admin.get(&path).await.expect(503);
    assert!(!reply.header("retry-after").is_empty());
    assert!(reply.text().contains("try again"), "{}", reply.text());
    let (before, since) = (cpu(&server), Instant::now());
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (client, path) = (server.admin(), path.clone());
            tokio::spawn(
                async move { client.maybe("GET", &path, &[], b"").await.map(|r| r.status) },
            )
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (used, passed) = (cpu(&server).saturating_sub(before), since.elapsed());
    assert!(used < passed / 2, "{used:?} of {passed:?}: a busy loop");
    limit_files(&server, 1024);
    for one in waiting {
        let status = one.await.unwrap();
        assert!(matches!(status, Some(200 | 503)), "{status:?}");
    }
    let lines = server.log().matches("cannot be accepted").count();
    assert_eq!(lines, 1, "one line, however many accepts fail");
    admin.get(&path).await.expect(200);
    push_image(&server.admin(), "a", "after", 1).await;
}

/// Waits until the sweeps have told so many times that manifests cannot be read.
async fn told_of_unread(server: &Server, times: usize) {
    let line = "cannot be read";
    let told = async || server.log().matches(line).count() >= times;
    until("a sweep finds no file left to open", SOON, told).await;
}

/// What is due while nothing can be opened is done when that is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_collector_forgets_nothing_that_it_cannot_read() {
    let env = [
        ("DRYPORT_GC__INTERVAL", "200ms"),
        ("DRYPORT_BLOBS__LEASE", "1s"),
        ("DRYPORT_HISTORY__KEEP", "0s"),
    ];
    let mut server = Server::serve(home(), &[], &env).await;
    let admin = server.admin();
    let (config, layer) = (noise(1, 100), noise(2, 200_000));
    for bytes in [&config, &layer] {
        push_blob(&admin, "a", bytes).await;
    }
    // Long enough for a file of its own.
    let note = json!({ "note": "x".repeat(100_000) });
    let mut manifest = image(&config, &[&layer]);
    manifest["annotations"] = note.clone();
    let manifest = bytes_of(&manifest);
    put_manifest(&admin, "a", "v1", OCI_MANIFEST, &manifest).await;
    let subject = push_image(&admin, "a", "v2", 2).await;
    let list = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": note,
    });
    let tag = sha256(&subject).replace(':', "-");
    put_manifest(&admin, "a", &tag, OCI_INDEX, &bytes_of(&list)).await;

    limit_files(&server, next_file(&server));
    let path = format!("/v2/a/manifests/{}", sha256(&manifest));
    admin.delete(&path).await.expect(202);
    told_of_unread(&server, 1).await;
    limit_files(&server, 1024);
    // Who asks for it would renew its lease.
    let hex = &sha256(&layer)["sha256:".len()..];
    let folder = server.data().join("blobs/sha256").join(&hex[..2]);
    let is_file = |entry: std::fs::DirEntry| entry.path().to_string_lossy().contains(hex);
    let has_file = || {
        std::fs::read_dir(&folder)
            .unwrap()
            .any(|e| is_file(e.unwrap()))
    };
    assert!(has_file());
    // It need not wait until then.
    run_ok(&["gc", "--data", &server.dir()]);
    let is_gone = async || !has_file();
    until("what the manifest named goes", SOON, is_gone).await;

    let told = server.log().matches("cannot be read").count();
    let path = format!("/v2/a/manifests/{}", sha256(&subject));
    limit_files(&server, next_file(&server));
    admin.delete(&path).await.expect(202);
    told_of_unread(&server, told + 1).await;
    limit_files(&server, 1024);
    pass(&mut server, Duration::from_secs(601)).await;
    let (admin, list) = (server.admin(), format!("/v2/a/manifests/{tag}"));
    let is_gone = async || admin.head(&list).await.status == 404;
    until("the list goes", SOON, is_gone).await;
}

/// A sweep that looks ahead does not come upon what it has put off again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_by_hand_looks_once_at_what_it_cannot_read() {
    let env = [
        ("DRYPORT_GC__INTERVAL", "1h"),
        ("DRYPORT_BLOBS__LEASE", "1s"),
        ("DRYPORT_HISTORY__KEEP", "0s"),
    ];
    let server = Server::serve(home(), &[], &env).await;
    let admin = server.admin();
    let mut manifest = image(b"{}", &[]);
    manifest["annotations"] = json!({ "note": "x".repeat(100_000) });
    let manifest = bytes_of(&manifest);
    push_blob(&admin, "a", b"{}").await;
    put_manifest(&admin, "a", "v1", OCI_MANIFEST, &manifest).await;
    let path = format!("/v2/a/manifests/{}", sha256(&manifest));
    admin.delete(&path).await.expect(202);
    // The connection of the command gets the last one.
    limit_files(&server, next_file(&server) + 1);
    let dir = server.dir();
    let swept =
        tokio::task::spawn_blocking(move || run_ok(&["gc", "--purge-history", "--data", &dir]));
    let swept = tokio::time::timeout(Duration::from_secs(20), swept).await;
    let told = server.log().matches("cannot be read").count();
    limit_files(&server, 1024);
    swept.expect("it ends").expect("no panic");
    // What is put off lies ahead of it once more.
    assert!((1..=4).contains(&told), "{told} {}", server.log());
}
