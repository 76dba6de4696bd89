//! Jobs: mirror runs that outlive their command and their server.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::fake::{Answer, Fake};
use crate::harness::{Server, dryport, found, run, run_ok, text_of, until};

const SOON: Duration = Duration::from_mins(1);

/// A registry whose blobs are only given away while the gate is open.
struct Gated {
    fake: Fake,
    open: Arc<AtomicBool>,
}

impl Gated {
    fn start() -> Self {
        let (fake, open) = (Fake::start(), Arc::new(AtomicBool::new(false)));
        fake.image("v1", "amd64", 7, 100_000);
        let gate = Arc::clone(&open);
        fake.bend(move |ask, answer| {
            let is_blob = ask.path.contains("/blobs/");
            if is_blob && !gate.load(Ordering::Acquire) {
                return Answer::new(503, "text/plain", "not now").with("retry-after", "1");
            }
            answer
        });
        Self { fake, open }
    }

    fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    fn close(&self) {
        self.open.store(false, Ordering::Release);
    }
}

fn args<'a>(dir: &'a str, source: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["mirror", "--data", dir, source, "--to", "copy"];
    args.extend_from_slice(more);
    args
}

fn spawn(dir: &str, source: &str, more: &[&str]) -> Child {
    let mut command = dryport(&args(dir, source, more));
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn show(dir: &str, id: &str) -> Value {
    serde_json::from_str(&run_ok(&["job", "show", id, "--json", "--data", dir])).unwrap()
}

fn list(dir: &str) -> Vec<Value> {
    serde_json::from_str(&run_ok(&["job", "list", "--json", "--data", dir])).unwrap()
}

async fn is(dir: &str, id: &str, state: &str) {
    let what = format!("job {id} is {state}");
    until(&what, SOON, async || show(dir, id)["state"] == state).await;
}

async fn begun(dir: &str) -> String {
    found("a job runs", SOON, async || {
        let jobs = list(dir);
        let running = jobs.iter().find(|job| job["state"] == "running")?;
        Some(running["id"].to_string())
    })
    .await
}

#[tokio::test]
async fn a_detached_copy_is_left_to_the_server() {
    let (gated, server) = (Gated::start(), Server::start().await);
    let (dir, source) = (server.dir(), gated.fake.source(":v1"));
    let id = run_ok(&args(&dir, &source, &["--detach"]))
        .trim()
        .to_owned();
    let job = show(&dir, &id);
    assert_eq!(
        (&job["kind"], &job["attempts"]),
        (&"mirror".into(), &1.into()),
        "{job:#}"
    );
    assert!(job["what"].as_str().unwrap().contains("to copy"), "{job:#}");
    gated.open();
    is(&dir, &id, "done").await;
    let job = show(&dir, &id);
    assert_eq!(job["result"]["name"], "copy", "{job:#}");
    assert_eq!(
        job["progress"]["blobs"], job["progress"]["blobs_done"],
        "{job:#}"
    );
    let anyone = server.anonymous();
    anyone.get("/v2/copy/manifests/v1").await.expect(200);
    let log = run_ok(&["job", "log", &id, "--data", &dir]);
    assert!(log.contains("begun") && log.contains("done"), "{log}");
    let text = run_ok(&["job", "list", "--data", &dir]);
    assert!(text.contains("done") && text.contains("mirror"), "{text}");
    let text = run_ok(&["job", "show", &id, "--data", &dir]);
    assert!(text.contains("State:     done"), "{text}");
}

#[tokio::test]
async fn without_a_server_nothing_is_detached() {
    let gated = Gated::start();
    gated.open();
    let mut server = Server::start().await;
    server.kill();
    let (dir, source) = (server.dir(), gated.fake.source(":v1"));
    let output = run(&args(&dir, &source, &["--detach"]));
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("no server runs"),
        "{}",
        text_of(&output)
    );
    assert!(list(&dir).is_empty());
    // The command does it itself, and it is remembered.
    run_ok(&args(&dir, &source, &[]));
    let jobs = list(&dir);
    assert_eq!(
        (jobs.len(), &jobs[0]["state"]),
        (1, &"done".into()),
        "{jobs:#?}"
    );
}

#[tokio::test]
async fn a_job_goes_on_after_kill_9() {
    let (gated, mut server) = (Gated::start(), Server::start().await);
    let (dir, source) = (server.dir(), gated.fake.source(":v1"));
    let id = run_ok(&args(&dir, &source, &["--detach"]))
        .trim()
        .to_owned();
    is(&dir, &id, "running").await;
    server.kill();
    server.restart().await;
    is(&dir, &id, "running").await;
    gated.open();
    is(&dir, &id, "done").await;
    let job = show(&dir, &id);
    assert_eq!(job["attempts"], 2, "{job:#}");
    server
        .anonymous()
        .get("/v2/copy/manifests/v1")
        .await
        .expect(200);
    assert_eq!(list(&dir).len(), 1);
}

#[tokio::test]
async fn a_job_goes_on_after_a_stop() {
    let (gated, mut server) = (Gated::start(), Server::start().await);
    let (dir, source) = (server.dir(), gated.fake.source(":v1"));
    let id = run_ok(&args(&dir, &source, &["--detach"]))
        .trim()
        .to_owned();
    is(&dir, &id, "running").await;
    server.signal("TERM");
    assert_eq!(server.exit_code(SOON).await, Some(0));
    server.restart().await;
    gated.open();
    is(&dir, &id, "done").await;
}

#[tokio::test]
async fn what_needs_credentials_waits_for_its_command() {
    let (gated, mut server) = (Gated::start(), Server::start().await);
    let (dir, source) = (server.dir(), gated.fake.source(":v1"));
    let host = source
        .trim_start_matches("docker://")
        .split('/')
        .next()
        .unwrap();
    let file = server.home().join("config.json");
    // "ann:secret".
    let auth = serde_json::json!({"auths": {host: {"auth": "YW5uOnNlY3JldA=="}}});
    std::fs::write(&file, auth.to_string()).unwrap();
    let creds = ["--creds-file", file.to_str().unwrap()];
    let id = run_ok(&args(&dir, &source, &[&creds[..], &["--detach"]].concat()))
        .trim()
        .to_owned();
    is(&dir, &id, "running").await;
    server.kill();
    server.restart().await;
    is(&dir, &id, "waiting").await;
    let output = run(&["job", "retry", &id, "--data", &dir]);
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("give that command again"),
        "{}",
        text_of(&output)
    );
    gated.open();
    run_ok(&args(&dir, &source, &creds));
    let jobs = list(&dir);
    assert_eq!(
        (jobs.len(), &jobs[0]["state"]),
        (1, &"done".into()),
        "{jobs:#?}"
    );
    // Nothing of what the command gave is on disk, or in the log.
    for text in ["YW5uOnNlY3JldA", "secret"] {
        assert!(!server.log().contains(text));
        let grep = std::process::Command::new("grep")
            .args(["-rlaF", text, &dir])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&grep.stdout),
            "",
            "{text} in the data directory"
        );
    }
}

#[tokio::test]
async fn a_copy_outlives_its_command_and_is_joined_by_the_same_one() {
    let (gated, server) = (Gated::start(), Server::start().await);
    let (dir, source) = (server.dir(), gated.fake.source(":v1"));
    let mut first = spawn(&dir, &source, &[]);
    let id = begun(&dir).await;
    first.kill().unwrap();
    first.wait().unwrap();
    let second = spawn(&dir, &source, &[]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    gated.open();
    let output = second.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let jobs = list(&dir);
    assert_eq!(
        (jobs.len(), jobs[0]["id"].to_string()),
        (1, id),
        "{jobs:#?}"
    );
    assert_eq!(
        (&jobs[0]["state"], &jobs[0]["attempts"]),
        (&"done".into(), &1.into())
    );
}

#[tokio::test]
async fn a_job_is_cancelled_and_tried_again() {
    let (gated, server) = (Gated::start(), Server::start().await);
    let (dir, source) = (server.dir(), gated.fake.source(":v1"));
    let id = run_ok(&args(&dir, &source, &["--detach"]))
        .trim()
        .to_owned();
    is(&dir, &id, "running").await;
    run_ok(&["job", "cancel", &id, "--data", &dir]);
    is(&dir, &id, "cancelled").await;
    let output = run(&["job", "cancel", &id, "--data", &dir]);
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
    gated.open();
    run_ok(&["job", "retry", &id, "--data", &dir]);
    is(&dir, &id, "done").await;
    let output = run(&["job", "retry", &id, "--data", &dir]);
    assert_eq!(output.status.code(), Some(3), "{}", text_of(&output));
    for command in ["show", "log", "cancel", "retry"] {
        let output = run(&["job", command, "99", "--data", &dir]);
        assert!(
            text_of(&output).contains("no job 99"),
            "{}",
            text_of(&output)
        );
        assert!(!output.status.success());
    }
}

#[tokio::test]
async fn an_interrupt_ends_the_job_of_a_command() {
    let (gated, server) = (Gated::start(), Server::start().await);
    let (dir, source) = (server.dir(), gated.fake.source(":v1"));
    let mut command = spawn(&dir, &source, &[]);
    let id = begun(&dir).await;
    // The command must have heard which job is its own.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = rustix::process::Pid::from_raw(command.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(!command.wait().unwrap().success());
    is(&dir, &id, "cancelled").await;
    gated.close();
}

#[tokio::test]
async fn a_detached_copy_that_fails_is_tried_again_later() {
    let server = Server::start().await;
    let dir = server.dir();
    // Nobody listens there.
    let port = crate::harness::free_port();
    let source = format!("docker://127.0.0.1:{port}/team/app:v1");
    let id = run_ok(&args(&dir, &source, &["--detach"]))
        .trim()
        .to_owned();
    is(&dir, &id, "queued").await;
    let job = show(&dir, &id);
    assert!(job["error"].is_string(), "{job:#}");
    let log = run_ok(&["job", "log", &id, "--data", &dir]);
    assert!(log.contains("the next try is in"), "{log}");
    // What is wrong for good is not.
    let id = run_ok(&args(
        &dir,
        &source,
        &["--detach", "--platform", "nonsense"],
    ));
    is(&dir, id.trim(), "failed").await;
}
