//! Schedules: copies that are made again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::core::disks::faulty::home;
use crate::core::wall_clock::faketime;
use crate::harness::fake::{Answer, Fake};
use crate::harness::{SOON, Server, run, run_ok, text_of, until};

fn fake() -> Fake {
    let fake = Fake::start();
    fake.image("v1", "amd64", 7, 10_000);
    fake
}

fn plan(dir: &str, source: &str, more: &[&str]) -> Vec<String> {
    let mut args = vec!["mirror", "--data", dir, source, "--to", "copy"];
    args.extend_from_slice(more);
    args.iter().map(ToString::to_string).collect()
}

fn planned(dir: &str, source: &str, more: &[&str]) -> Value {
    let args = plan(dir, source, &[more, &["--json"]].concat());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    serde_json::from_str(&run_ok(&args)).unwrap()
}

fn refused(dir: &str, source: &str, more: &[&str], code: i32, says: &str) {
    let args = plan(dir, source, more);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = run(&args);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(code), "{more:?}: {text}");
    assert!(text.contains(says), "{more:?}: {text}");
}

fn json(args: &[&str]) -> Vec<Value> {
    serde_json::from_str(&run_ok(args)).unwrap()
}

fn jobs(dir: &str) -> Vec<Value> {
    json(&["job", "list", "--json", "--data", dir])
}

fn schedules(dir: &str) -> Vec<Value> {
    json(&["job", "schedules", "--json", "--data", dir])
}

fn done(dir: &str) -> usize {
    let jobs = jobs(dir);
    jobs.iter().filter(|job| job["state"] == "done").count()
}

#[tokio::test]
async fn a_schedule_copies_again_and_again_until_it_is_removed() {
    let (fake, server) = (fake(), Server::start().await);
    let (dir, source) = (server.dir(), fake.source(":v1"));
    let made = planned(&dir, &source, &["--every", "1s", "--jitter", "100ms"]);
    assert_eq!((&made["id"], &made["every_ms"]), (&1.into(), &1000.into()));
    until("two copies are made", SOON, async || done(&dir) >= 2).await;
    for job in jobs(&dir) {
        assert_eq!(
            (&job["kind"], &job["who"]),
            (&"mirror".into(), &"schedule 1".into())
        );
    }
    let anyone = server.anonymous();
    anyone.get("/v2/copy/manifests/v1").await.expect(200);
    let text = run_ok(&["job", "schedules", "--data", &dir]);
    assert!(text.contains("every 1s, up to 100ms later"), "{text}");
    assert!(text.contains("job ") && text.contains("to copy"), "{text}");
    run_ok(&["job", "unschedule", "1", "--data", &dir]);
    assert!(schedules(&dir).is_empty());
    until("the last job has ended", SOON, async || {
        done(&dir) == jobs(&dir).len()
    })
    .await;
    let before = jobs(&dir).len();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(jobs(&dir).len(), before);
    let output = run(&["job", "unschedule", "1", "--data", &dir]);
    assert!(
        text_of(&output).contains("no schedule 1"),
        "{}",
        text_of(&output)
    );
    assert!(!output.status.success());
    // Numbers are never used again.
    let made = planned(&dir, &source, &["--cron", "0 3 * * *"]);
    assert_eq!((&made["id"], &made["zone"]), (&2.into(), &"UTC".into()));
}

#[tokio::test]
async fn a_schedule_survives_kill_9() {
    let (fake, mut server) = (fake(), Server::start().await);
    let (dir, source) = (server.dir(), fake.source(":v1"));
    planned(&dir, &source, &["--every", "1s"]);
    until("a copy is made", SOON, async || done(&dir) >= 1).await;
    server.kill();
    let before = done(&dir);
    let kept = schedules(&dir);
    assert_eq!(kept.len(), 1, "{kept:#?}");
    server.restart().await;
    until("copies go on", SOON, async || done(&dir) >= before + 2).await;
}

#[tokio::test]
async fn a_schedule_that_no_server_saw_begins_with_the_next_one() {
    let (fake, mut server) = (fake(), Server::start().await);
    server.kill();
    let (dir, source) = (server.dir(), fake.source(":v1"));
    let args = plan(&dir, &source, &["--every", "1h"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let text = run_ok(&args);
    assert!(
        text.contains("Schedule 1: every 1h; no server runs now"),
        "{text}"
    );
    assert!(jobs(&dir).is_empty());
    server.restart().await;
    until("the copy is made", SOON, async || done(&dir) == 1).await;
    let one = &schedules(&dir)[0];
    assert_eq!(
        (&one["runs"], &one["last_state"]),
        (&1.into(), &"done".into()),
        "{one:#}"
    );
}

#[tokio::test]
async fn times_that_passed_in_a_pause_count_once() {
    let (fake, mut server) = (fake(), Server::start().await);
    let (dir, source) = (server.dir(), fake.source(":v1"));
    planned(&dir, &source, &["--every", "1s"]);
    until("a copy is made", SOON, async || done(&dir) >= 1).await;
    let runs = || schedules(&dir)[0]["runs"].as_u64().unwrap();
    let before = runs();
    // What comes between the look and the stop counts as time after the pause.
    let begun = Instant::now();
    server.signal("STOP");
    let between = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let begun = Instant::now();
    server.signal("CONT");
    let more = runs() - before;
    let awake = (begun.elapsed() + between).as_secs();
    assert!(
        more <= 3 + awake,
        "{more} runs in {awake} s after a pause of 6 s"
    );
}

#[tokio::test]
async fn one_job_of_a_schedule_is_under_way_at_a_time() {
    let (fake, server) = (fake(), Server::start().await);
    let (dir, source) = (server.dir(), fake.source(":v1"));
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    fake.bend(move |ask, answer| {
        if ask.path.contains("/blobs/") && !gate.load(Ordering::Acquire) {
            return Answer::new(503, "text/plain", "not now").with("retry-after", "1");
        }
        answer
    });
    planned(&dir, &source, &["--every", "1s"]);
    until("times are left out", SOON, async || {
        schedules(&dir)[0]["skipped"].as_u64().unwrap() >= 2
    })
    .await;
    assert_eq!(jobs(&dir).len(), 1, "{:#?}", jobs(&dir));
    open.store(true, Ordering::Release);
    until("copies are made", SOON, async || done(&dir) >= 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cron_times_that_passed_while_no_server_ran_count_once() {
    let Some(library) = faketime() else { return };
    let (fake, home) = (fake(), home());
    let clock = home.path().join("clock");
    std::fs::write(&clock, "+0\n").unwrap();
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("NO_FAKE_STAT", "1"),
    ];
    let mut server = Server::serve(home, &[], &env).await;
    let (dir, source) = (server.dir(), fake.source(":v1"));
    let zone = ["--cron", "17 */6 * * *", "--zone", "Asia/Kolkata"];
    let made = planned(&dir, &source, &zone);
    let first = made["next_ms"].as_u64().unwrap();
    assert_eq!(first % 3_600_000, (17 + 30) * 60_000, "{made:#}");
    assert!(jobs(&dir).is_empty());
    server.kill();
    std::fs::write(&clock, "+72h\n").unwrap();
    server.restart().await;
    until("the copy is made", SOON, async || done(&dir) == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let one = &schedules(&dir)[0];
    assert_eq!((&one["runs"], jobs(&dir).len()), (&1.into(), 1), "{one:#}");
    let next = one["next_ms"].as_u64().unwrap();
    assert!(next > first + 66 * 3_600_000, "{one:#}");
    // The clock was wrong: the next time is as near as ever.
    std::fs::write(&clock, "+0\n").unwrap();
    until("the next time is near again", SOON, async || {
        let one = &schedules(&dir)[0];
        one["next_ms"].as_u64().unwrap() == first
    })
    .await;
    assert_eq!(jobs(&dir).len(), 1);
}

#[tokio::test]
async fn what_no_run_could_do_is_refused_when_it_is_asked_for() {
    let (fake, server) = (fake(), Server::start().await);
    let (dir, source) = (server.dir(), fake.source(":v1"));
    let no = |more: &[&str], says| refused(&dir, &source, more, 2, says);
    no(&["--cron", "0 3 * *"], "it has 4 fields");
    no(
        &["--cron", "61 3 * * *"],
        "no time that this program can read",
    );
    no(&["--cron", "0 0 30 2 *"], "no time ever matches");
    no(&["--cron", "0 3 * * *", "--zone", "Berlin"], "no time zone");
    no(&["--every", "10ms"], "at least one second");
    no(
        &["--every", "1m", "--jitter", "2m"],
        "this jitter is longer",
    );
    no(
        &["--every", "1m", "--cron", "0 3 * * *"],
        "cannot be used with",
    );
    no(&["--every", "1m", "--detach"], "cannot be used with");
    no(&["--every", "1m", "--platform", "nonsense"], "nonsense");
    no(&["--jitter", "1m"], "goes with --every or --cron");
    let host = source
        .trim_start_matches("docker://")
        .split('/')
        .next()
        .unwrap();
    let creds = server.home().join("config.json");
    let auth = serde_json::json!({"auths": {host: {"auth": "YW5uOnNlY3JldA=="}}});
    std::fs::write(&creds, auth.to_string()).unwrap();
    let creds = creds.to_str().unwrap();
    no(
        &["--every", "1m", "--creds-file", creds],
        "a schedule keeps none",
    );
    let ca = server.data().join("tls/ca.pem");
    no(
        &["--every", "1m", "--ca", ca.to_str().unwrap()],
        "a schedule keeps no certificate",
    );
    assert!(schedules(&dir).is_empty());
    assert_eq!(
        run_ok(&["job", "schedules", "--data", &dir]),
        "No schedules.\n"
    );
    planned(&dir, &source, &["--every", "1h", "--anonymous"]);
    until("the copy is made", SOON, async || done(&dir) == 1).await;
}
