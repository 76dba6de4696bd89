//! `dryport check --deep`: interrupted and gone on with, on a disk that refuses to read, and on a terminal; and the time
//! that a file without a row is given.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::core::disks::faulty::{Faulty, home};
use crate::core::wall_clock::faketime;
use crate::harness::content::{noise, push_blob, push_image};
use crate::harness::damage::{Copy, check, kinds, world};
use crate::harness::{SOON, Server, dryport, run_with_input, skip, text_of, until};

/// Content files of a server that was filled, and their length.
const FILES: u64 = 30;
const LONG: usize = 70_000;

async fn fill(server: &Server) {
    let admin = server.admin();
    for n in 0..FILES {
        push_blob(&admin, "a", &noise(n, LONG)).await;
    }
}

fn slowly(dir: &str, more: &[&str]) -> Command {
    let mut command = dryport(&[&["check", "--data", dir, "--deep"], more].concat());
    command.env("DRYPORT_CHECK__RATE", "100KiB");
    command
}

fn begin(mut command: Command) -> Child {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().unwrap()
}

/// The content files that a process has been seen to have open.
struct Readings {
    fds: String,
    blobs: PathBuf,
    seen: BTreeSet<PathBuf>,
}

impl Readings {
    fn of(pid: u32, server: &Server) -> Self {
        Self {
            fds: format!("/proc/{pid}/fd"),
            blobs: server.data().join("blobs"),
            seen: BTreeSet::new(),
        }
    }

    /// Waits until two more files have been read from: the first of them to its end.
    async fn go_on(&mut self) {
        let before = self.seen.len();
        until("two more files are read", SOON, async || {
            // What is closed meanwhile is nobody's.
            let fds = fs::read_dir(&self.fds).into_iter().flatten().flatten();
            let open = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
            let blobs = &self.blobs;
            self.seen.extend(open.filter(|to| to.starts_with(blobs)));
            self.seen.len() >= before + 2
        })
        .await;
    }
}

fn interrupt(child: Child) -> String {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &pid]).status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    text_of(&output)
}

/// The next check goes on; the one after that begins at the start.
fn goes_on(server: &Server) {
    let dir = server.data();
    let blobs = |report: &Value| report["blobs"].as_u64().unwrap();
    let (code, rest) = check(&dir, &["--deep", "--fast"]);
    assert_eq!((code, kinds(&rest)), (0, Vec::new()), "{rest:#}");
    assert_eq!(rest["resumed"], true, "{rest:#}");
    assert_eq!(rest["deep"], true);
    let (code, whole) = check(&dir, &["--deep", "--fast"]);
    assert_eq!((code, kinds(&whole)), (0, Vec::new()), "{whole:#}");
    assert_eq!(whole["resumed"], false);
    assert_eq!(blobs(&whole), FILES, "{whole:#}");
    assert_eq!(whole["bytes_read"], FILES * LONG as u64);
    assert!((1..FILES).contains(&blobs(&rest)), "{rest:#}");
    assert_eq!(rest["bytes_read"], blobs(&rest) * LONG as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_deep_check_goes_on_offline() {
    let mut server = Server::start().await;
    fill(&server).await;
    server.signal("TERM");
    assert_eq!(server.exit_code(SOON).await, Some(0));
    let slow = begin(slowly(&server.dir(), &[]));
    Readings::of(slow.id(), &server).go_on().await;
    let said = interrupt(slow);
    assert!(said.contains("interrupted; run it again"), "{said}");
    goes_on(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_deep_check_of_a_server_goes_on() {
    let env = [
        ("DRYPORT_CHECK__RATE", "100KiB"),
        ("DRYPORT_CHECK__EVERY", "0s"),
    ];
    let mut server = Server::serve(home(), &[], &env).await;
    fill(&server).await;
    let slow = begin(slowly(&server.dir(), &[]));
    Readings::of(server.pid(), &server).go_on().await;
    let said = interrupt(slow);
    assert!(said.contains("goes on from there"), "{said}");
    goes_on(&server);

    // A server that is killed has noted how far it was a moment before.
    let mut slow = begin(slowly(&server.dir(), &[]));
    let mut readings = Readings::of(server.pid(), &server);
    readings.go_on().await;
    // It notes that every 5 s, after a file.
    tokio::time::sleep(Duration::from_secs(5)).await;
    readings.go_on().await;
    server.kill();
    assert!(!slow.wait().unwrap().success());
    server.restart().await;
    goes_on(&server);

    // One that is stopped in order, too.
    let mut slow = begin(slowly(&server.dir(), &[]));
    Readings::of(server.pid(), &server).go_on().await;
    server.signal("TERM");
    assert_eq!(server.exit_code(SOON).await, Some(0));
    assert!(!slow.wait().unwrap().success());
    goes_on(&server);
}

#[tokio::test]
async fn a_file_that_the_disk_refuses_to_read_is_not_called_missing() {
    let Some(faulty) = Faulty::build() else {
        return;
    };
    let world = world().await;
    let copy = Copy::of(world);
    let file = fs::canonicalize(copy.file(&world.layer)).unwrap();
    let dir = copy.dir();
    for more in [&["--deep"][..], &["--deep", "--repair"], &["--deep"]] {
        let args = ["check", "--data", dir.to_str().unwrap(), "--json", "--fast"];
        let mut command = dryport(&[&args, more].concat());
        command
            .env("LD_PRELOAD", &faulty.library)
            .env("FAULT_READ", &file);
        let output = run_with_input(command, "");
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", text_of(&output)));
        assert_eq!(kinds(&report), ["blob-unreadable"], "{report:#}");
        assert_eq!(output.status.code(), Some(4));
        let problem = &report["problems"][0];
        assert_eq!(problem["digest"], world.layer.to_string());
        let tags = ["other:v1", "team/app:long", "team/app:v1"];
        assert_eq!(problem["tags"], serde_json::json!(tags), "{report:#}");
        let what = problem["what"].as_str().unwrap();
        assert!(what.contains("Input/output error"), "{what}");
        assert!(
            problem["how"]
                .as_str()
                .unwrap()
                .contains("look at the disk")
        );
    }
    assert!(file.exists() && !dir.join("quarantine").exists());
    // The disk reads it again: nothing was marked, so nothing is to be mended.
    let (code, report) = copy.check(&["--deep"]);
    assert_eq!((code, kinds(&report)), (0, Vec::new()), "{report:#}");
}

/// A content file of no blob.
fn stray(server: &Server, like: &str, n: u8) -> PathBuf {
    let hex = like.strip_prefix("sha256:").unwrap();
    let folder = server.data().join("blobs/sha256").join(&hex[..2]);
    let twin = folder.join(format!("{hex}.{}", n.to_string().repeat(32)));
    fs::write(&twin, b"a write that was cut off").unwrap();
    twin
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_a_row_is_left_alone_for_ten_minutes() {
    let clock = tempfile::tempdir().unwrap();
    let clock = clock.path().join("clock");
    let library = faketime();
    fs::write(&clock, "+0\n").unwrap();
    let library = library.as_ref().map_or("", |path| path.to_str().unwrap());
    let env = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("NO_FAKE_STAT", "1"),
        ("DRYPORT_CHECK__EVERY", "0s"),
    ];
    let mut server = Server::serve(home(), &[], &env).await;
    let digest = push_blob(&server.admin(), "a", &noise(1, LONG)).await;
    let mut file = stray(&server, &digest, 1);
    // Whether it was told of, and whether it is still there.
    let look = |server: &Server, file: &PathBuf| {
        let (code, report) = check(&server.data(), &["--repair"]);
        assert_eq!(code, 0, "{report:#}");
        let told = kinds(&report).contains(&"stray-file".to_owned());
        (told, file.exists())
    };
    assert_eq!(look(&server, &file), (false, true));
    if !library.is_empty() {
        fs::write(&clock, "+590\n").unwrap();
        assert_eq!(look(&server, &file), (false, true));
        fs::write(&clock, "+615\n").unwrap();
        assert_eq!(look(&server, &file), (true, false));
        file = stray(&server, &digest, 2);
        assert_eq!(look(&server, &file), (false, true));
    }
    // Where no server writes there is nothing to wait for.
    server.signal("TERM");
    server.exit_code(SOON).await;
    assert_eq!(look(&server, &file), (true, false));
}

/// The command on a terminal of its own; what it shows. `None`: this machine has no `script`.
fn on_a_terminal(command: &str) -> Option<String> {
    let shown = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .env("TERM", "xterm")
        .env("DRYPORT_CHECK__RATE", "1MiB")
        .stdin(Stdio::null())
        .output();
    match shown {
        Ok(output) => Some(text_of(&output)),
        Err(error) => {
            skip(&format!("no terminal to show progress on: script: {error}"));
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_how_far_it_is() {
    let env = [("DRYPORT_CHECK__RATE", "1MiB")];
    let server = Server::serve(home(), &[], &env).await;
    fill(&server).await;
    push_image(&server.admin(), "a", "v1", 1).await;
    let line = format!(
        "{} check --deep --data {}",
        crate::harness::BINARY,
        server.dir()
    );
    let Some(shown) = on_a_terminal(&line) else {
        return;
    };
    assert!(
        shown.contains("/32 blobs") || shown.contains("/33 blobs"),
        "{shown}"
    );
    assert!(shown.contains("MiB/s"), "{shown}");
    assert!(shown.contains("Nothing is wrong."), "{shown}");
    let shown = on_a_terminal(&format!("{line} --json")).unwrap();
    assert!(!shown.contains("/32 blobs"), "{shown}");
    // Nor where no terminal is.
    let output = run_with_input(slowly(&server.dir(), &["--fast"]), "");
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(output.stderr.is_empty(), "{}", text_of(&output));
}
