//! Sweeps, deletions, checks and the scrub, as jobs.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::core::disks::faulty::home;
use crate::harness::content::{OCI_MANIFEST, noise, push_blob, push_image, put_manifest};
use crate::harness::{SOON, Server, dryport, found, run, run_ok, text_of, until};

fn jobs(dir: &str) -> Vec<Value> {
    serde_json::from_str(&run_ok(&["job", "list", "--json", "--data", dir])).unwrap()
}

/// The newest job of a kind.
fn of(dir: &str, kind: &str) -> Option<Value> {
    jobs(dir).into_iter().find(|job| job["kind"] == kind)
}

async fn is(dir: &str, kind: &str, state: &str) -> Value {
    found(&format!("a job {kind} is {state}"), SOON, async || {
        of(dir, kind).filter(|job| job["state"] == state)
    })
    .await
}

fn cancel(dir: &str, job: &Value) {
    run_ok(&["job", "cancel", &job["id"].to_string(), "--data", dir]);
}

fn text(dir: &str, job: &Value) -> String {
    run_ok(&["job", "show", &job["id"].to_string(), "--data", dir])
}

/// A server that keeps nothing that nobody needs.
async fn forgetful(more: &[(&str, &str)]) -> Server {
    let nothing = [
        ("DRYPORT_BLOBS__LEASE", "1s"),
        ("DRYPORT_HISTORY__KEEP", "0s"),
    ];
    Server::serve(home(), &[], &[&nothing, more].concat()).await
}

#[tokio::test]
async fn a_sweep_that_somebody_asks_for_is_a_job() {
    let server = forgetful(&[("DRYPORT_GC__INTERVAL", "0s")]).await;
    let dir = server.dir();
    push_blob(&server.admin(), "a", &noise(1, 100_000)).await;
    // A little more than its lease.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let report = run_ok(&["gc", "--json", "--data", &dir]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let job = of(&dir, "gc").unwrap();
    assert_eq!(
        (&job["state"], &job["who"]),
        (&"done".into(), &"operator".into()),
        "{job:#}"
    );
    assert_eq!(job["result"], report, "{job:#}");
    assert_eq!(report["freed_blobs"], 1, "{report:#}");
    let shown = text(&dir, &job);
    assert!(shown.contains("State:     done"), "{shown}");
    // Each sweep that is asked for is another one.
    run_ok(&["gc", "--purge-history", "--data", &dir]);
    let job = of(&dir, "gc").unwrap();
    assert!(
        job["what"].as_str().unwrap().contains("all history"),
        "{job:#}"
    );
    assert_eq!(jobs(&dir).len(), 2);
}

#[tokio::test]
async fn what_a_deleted_repository_leaves_is_a_job() {
    // The collector itself does nothing here.
    let mut server = forgetful(&[("DRYPORT_GC__INTERVAL", "0s")]).await;
    let (dir, admin) = (server.dir(), server.admin());
    for (name, seed) in [("a", 1), ("b", 2)] {
        push_image(&admin, name, "v1", seed).await;
    }
    run_ok(&["repo", "delete", "a", "--data", &dir]);
    let job = is(&dir, "delete", "done").await;
    assert!(
        job["what"].as_str().unwrap().contains("rows of a,"),
        "{job:#}"
    );
    assert_eq!(job["progress"]["history_dropped"], 2, "{job:#}");
    let shown = text(&dir, &job);
    assert!(shown.contains("2 dropped"), "{shown}");
    server.kill();
    // Nobody runs that could do it: the next server does.
    run_ok(&["repo", "delete", "b", "--data", &dir]);
    let job = is(&dir, "delete", "queued").await;
    let id = job["id"].to_string();
    let output = run(&["job", "cancel", &id, "--data", &dir]);
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("no way back"),
        "{}",
        text_of(&output)
    );
    server.restart().await;
    let job = is(&dir, "delete", "done").await;
    assert_eq!(job["id"].to_string(), id);
    let check = run(&["check", "--data", &dir]);
    assert!(check.status.success(), "{}", text_of(&check));
}

#[tokio::test]
async fn a_deletion_goes_on_after_kill_9() {
    let mut server = forgetful(&[("DRYPORT_GC__INTERVAL", "0s")]).await;
    let (dir, admin) = (server.dir(), server.admin());
    let manifest = push_image(&admin, "a", "v1", 1).await;
    for n in 0..200 {
        put_manifest(&admin, "a", &format!("t{n}"), OCI_MANIFEST, &manifest).await;
    }
    run_ok(&["repo", "delete", "a", "--data", &dir]);
    server.kill();
    server.restart().await;
    let job = is(&dir, "delete", "done").await;
    assert!(job["error"].is_null(), "{job:#}");
    let check = run(&["check", "--data", &dir]);
    assert!(check.status.success(), "{}", text_of(&check));
    // The name is free for another one.
    push_image(&admin, "a", "v2", 2).await;
    admin.get("/v2/a/manifests/t7").await.expect(404);
}

#[tokio::test]
async fn a_sweep_that_somebody_asked_for_is_done_again_after_kill_9() {
    let env = [
        ("DRYPORT_GC__INTERVAL", "0s"),
        ("DRYPORT_GC__FILES_PER_SECOND", "1"),
    ];
    let mut server = forgetful(&env).await;
    let dir = server.dir();
    let admin = server.admin();
    for n in 0..6 {
        push_blob(&admin, "a", &noise(n, 70_000)).await;
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let mut gc = dryport(&["gc", "--data", &dir]);
    let gc = gc.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let first = is(&dir, "gc", "running").await;
    server.kill();
    assert!(!gc.unwrap().wait_with_output().unwrap().status.success());
    server.restart().await;
    let job = is(&dir, "gc", "done").await;
    assert_eq!(
        (&job["id"], &job["attempts"]),
        (&first["id"], &2.into()),
        "{job:#}"
    );
}

fn check(dir: &str) -> Child {
    let mut command = dryport(&["check", "--deep", "--data", dir]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

async fn fill(server: &Server) {
    let admin = server.admin();
    for n in 0..30 {
        push_blob(&admin, "a", &noise(n, 70_000)).await;
    }
}

#[tokio::test]
async fn reading_every_byte_is_a_job() {
    let env = [
        ("DRYPORT_CHECK__EVERY", "0s"),
        ("DRYPORT_CHECK__RATE", "200KiB"),
    ];
    let mut server = Server::serve(home(), &[], &env).await;
    fill(&server).await;
    let dir = server.dir();
    let slow = check(&dir);
    let job = is(&dir, "check", "running").await;
    until("it tells how far it is", SOON, async || {
        let job = of(&dir, "check").unwrap();
        job["progress"]["checked_bytes"].as_u64().unwrap_or(0) > 0
    })
    .await;
    assert!(
        text(&dir, &job).contains("of 30 blobs"),
        "{}",
        text(&dir, &job)
    );
    cancel(&dir, &job);
    let output = slow.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("interrupted"),
        "{}",
        text_of(&output)
    );
    is(&dir, "check", "cancelled").await;
    // After a kill it waits for its command, which goes on where it was.
    let slow = check(&dir);
    let job = is(&dir, "check", "running").await;
    server.kill();
    assert!(!slow.wait_with_output().unwrap().status.success());
    server.restart().await;
    is(&dir, "check", "waiting").await;
    let again = check(&dir);
    let taken = is(&dir, "check", "running").await;
    assert_eq!(taken["id"], job["id"]);
    cancel(&dir, &taken);
    assert!(!again.wait_with_output().unwrap().status.success());
}

#[tokio::test]
async fn a_scrub_that_takes_long_is_a_job_of_its_own() {
    let env = [
        ("DRYPORT_CHECK__EVERY", "2s"),
        ("DRYPORT_CHECK__RATE", "100KiB"),
    ];
    let mut server = Server::serve(home(), &[], &env).await;
    fill(&server).await;
    let dir = server.dir();
    let job = is(&dir, "scrub", "running").await;
    until("it tells how far it is", SOON, async || {
        let job = of(&dir, "scrub").unwrap();
        job["progress"]["pass_bytes"].as_u64().unwrap_or(0) > 0
    })
    .await;
    server.kill();
    server.restart().await;
    let again = is(&dir, "scrub", "running").await;
    assert_eq!(
        (&again["id"], &again["attempts"]),
        (&job["id"], &2.into()),
        "{again:#}"
    );
    cancel(&dir, &again);
    let retry = ["job", "retry", &again["id"].to_string(), "--data", &dir];
    assert!(text_of(&run(&retry)).contains("by itself"));
    until("it is cancelled", SOON, async || {
        let jobs = jobs(&dir);
        let it = jobs.iter().find(|one| one["id"] == job["id"]).unwrap();
        it["state"] == "cancelled"
    })
    .await;
}

#[tokio::test]
async fn a_sweep_of_the_timer_is_a_job_only_where_it_takes_long() {
    let env = [
        ("DRYPORT_GC__INTERVAL", "1s"),
        ("DRYPORT_GC__FILES_PER_SECOND", "1"),
    ];
    let server = forgetful(&env).await;
    let dir = server.dir();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(jobs(&dir).is_empty(), "{:#?}", jobs(&dir));
    fill(&server).await;
    let job = is(&dir, "sweep", "running").await;
    assert_eq!(job["who"], "dryport", "{job:#}");
    cancel(&dir, &job);
    until("it is cancelled", SOON, async || {
        let jobs = jobs(&dir);
        let it = jobs.iter().find(|one| one["id"] == job["id"]).unwrap();
        it["state"] == "cancelled"
    })
    .await;
}
