//! A limit of open files that is too low: who comes waits or is told to come again, and nothing spins.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::content::{noise, push_blob, push_image};
use crate::disks_faulty::home;
use crate::harness::{SOON, Server, text_of, until};

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
    drop(admin);
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
