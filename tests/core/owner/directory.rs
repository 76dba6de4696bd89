//! Whose the data directory is: one that others can write is refused, and what root runs on another user's directory
//! becomes that user first. Needs root, as CI has.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{
    ADMIN, BINARY, SOON, clean, dryport, free_ports, init, run, run_with_input, skip, text_of,
    until_blocking,
};

/// Users that no system has; whose the data is, and somebody else.
pub const OWNER: u32 = 61001;
const OTHER: u32 = 61002;

/// Whether this test can make files of other users and run as them.
pub fn is_root() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("needs root, to act as other users");
        return false;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let can = chown(file.path(), Some(OWNER), Some(OWNER)).is_ok()
        && as_user(OWNER, &["version"])
            .output()
            .is_ok_and(|o| o.status.success());
    if !can {
        skip("this machine gives root no other users");
    }
    can
}

/// The binary as another user, who may not be able to reach the folder that it lies in.
pub fn as_user(uid: u32, args: &[&str]) -> Command {
    static FILE: OnceLock<File> = OnceLock::new();
    let file = FILE.get_or_init(|| File::open(BINARY).unwrap());
    let mut command = clean(&format!("/proc/self/fd/{}", file.as_raw_fd()));
    command.args(args).uid(uid).gid(uid).current_dir("/");
    command
}

/// A folder that everybody may pass.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    mode(home.path(), 0o711);
    home
}

/// The same, with an empty `data` in it that is the owner's.
fn home_of_owner() -> TempDir {
    let home = home();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(OWNER), Some(OWNER)).unwrap();
    home
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Everything below a path, itself included, belongs to one user.
fn all_is_of(path: &Path, uid: u32) {
    let about = path.symlink_metadata().unwrap();
    assert_eq!((about.uid(), about.gid()), (uid, uid), "{}", path.display());
    if about.is_dir() {
        for entry in path.read_dir().unwrap() {
            all_is_of(&entry.unwrap().path(), uid);
        }
    }
}

/// A server; killed when dropped.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(mut command: Command, home: &Path, port: u16) -> Self {
        let log = home.join("log");
        let out = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let mut server = Self { child, log };
        until_blocking("the server is ready", SOON, || {
            let ended = server.child.try_wait().unwrap();
            let log = server.log();
            assert!(ended.is_none(), "{log}");
            get(port, "/readyz").contains("200 OK")
        });
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_for(&self, words: &str) {
        until_blocking(words, SOON, || self.log().contains(words));
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn stop(&mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to a GET, or nothing.
fn get(port: u16, path: &str) -> String {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(ask.as_bytes());
        let _ = stream.read_to_end(&mut answer);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn serve_args<'a>(data: &'a str, https: &'a str, http: &'a str) -> [&'a str; 7] {
    ["serve", "--data", data, "--https", https, "--http", http]
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = text_of(output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

/// A list of rights that lets OTHER write, with the mask that allows it (`setfacl -m u:OTHER:rwx`).
fn let_other_write(path: &Path) -> bool {
    let mut acl = 2_u32.to_le_bytes().to_vec();
    let nobody = u32::MAX;
    for (tag, rights, id) in [
        (1_u16, 7_u16, nobody),
        (2, 7, OTHER),
        (4, 5, nobody),
        (16, 7, nobody),
        (32, 5, nobody),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(rights.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_access";
    rustix::fs::setxattr(path, name, &acl, rustix::fs::XattrFlags::empty()).is_ok()
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    if !is_root() {
        return;
    }
    let home = home();
    let above = home.path().join("above");
    fs::create_dir(&above).unwrap();
    let data = above.join("data");
    init(&data, &[]);
    run(&["trust", "--data", text(&data)]);
    let ask = || run(&["user", "list", "--data", text(&data)]);
    let fine = |what: &str| assert!(ask().status.success(), "{what}: {}", text_of(&ask()));
    fine("as it was made");
    for (inner, bits) in [
        ("", 0o720),
        ("", 0o702),
        ("run", 0o770),
        ("keys", 0o707),
        ("tls", 0o720),
        ("blobs", 0o702),
        ("uploads", 0o770),
    ] {
        let path = if inner.is_empty() {
            data.clone()
        } else {
            data.join(inner)
        };
        mode(&path, bits);
        let remedy = format!("chmod go-w '{}'", path.display());
        refused(&ask(), &["may be written by", &remedy]);
        mode(&path, 0o700);
    }
    mode(&data, 0o777);
    refused(
        &run(&["serve", "--data", text(&data)]),
        &["anybody", "chmod go-w"],
    );
    refused(
        &run(&["check", "--repair", "--data", text(&data)]),
        &["chmod go-w"],
    );
    mode(&data, 0o700);
    let keys = data.join("keys");
    chown(&keys, Some(OTHER), None).unwrap();
    refused(&ask(), &["keys belongs to user 61002", "chown -R 0"]);
    chown(&keys, Some(0), None).unwrap();
    let (tls, moved) = (data.join("tls"), home.path().join("tls"));
    fs::rename(&tls, &moved).unwrap();
    symlink(&moved, &tls).unwrap();
    refused(&ask(), &["tls: it is a symbolic link"]);
    fs::remove_file(&tls).unwrap();
    fs::rename(&moved, &tls).unwrap();
    // Above it: whoever can rename there can put another directory in its place.
    mode(&above, 0o777);
    refused(&ask(), &["anybody can put another", "chmod o-w"]);
    mode(&above, 0o1777);
    fine("names in a sticky directory stay whose they are");
    mode(&above, 0o770);
    fine("a group of our own");
    chown(&above, None, Some(OTHER)).unwrap();
    refused(&ask(), &["the group 61002", "chmod g-w"]);
    chown(&above, Some(OTHER), Some(0)).unwrap();
    mode(&above, 0o700);
    refused(&ask(), &["user 61002 can put another"]);
    chown(&above, Some(0), Some(0)).unwrap();
    if let_other_write(&above) {
        refused(&ask(), &["lets others write"]);
        rustix::fs::removexattr(&above, "system.posix_acl_access").unwrap();
    } else {
        skip("this file system keeps no lists of rights");
    }
    mode(&above, 0o755);
    let sticky = home.path().join("sticky");
    fs::create_dir(&sticky).unwrap();
    mode(&sticky, 0o1777);
    let link = sticky.join("link");
    symlink(&data, &link).unwrap();
    let by_link = || run(&["user", "list", "--data", text(&link)]);
    assert!(by_link().status.success(), "a link of root's");
    lchown(&link, Some(OTHER), None).unwrap();
    refused(&by_link(), &["is a link of theirs"]);
    fine("all is as it was");
}

#[test]
fn another_users_directory_is_refused_and_an_empty_one_is_shut() {
    if !is_root() {
        return;
    }
    let home = home_of_owner();
    let data = home.path().join("data");
    for args in [["user", "list"], ["gc", "--dry-run"]] {
        let args = [&args[..], &["--data", text(&data)]].concat();
        let output = as_user(OTHER, &args).output().unwrap();
        refused(
            &output,
            &["belongs to user 61001", "Run this as user 61001"],
        );
    }
    // Made by a wide umask, and empty: nobody can have put anything in it once it is shut.
    mode(&data, 0o777);
    init(&data, &[]);
    all_is_of(&data, OWNER);
    assert_eq!(data.metadata().unwrap().mode() & 0o777, 0o700);
    // Not empty: somebody else may have.
    let planted = home.path().join("planted");
    fs::create_dir(&planted).unwrap();
    mode(&planted, 0o777);
    fs::write(planted.join("dryport.toml"), "mode = \"standalone\"\n").unwrap();
    refused(
        &run(&["init", "--data", text(&planted)]),
        &["may be written by anybody"],
    );
    assert!(!planted.join("lock").exists());
}

#[test]
fn what_root_runs_on_another_users_directory_leaves_nothing_of_roots() {
    if !is_root() {
        return;
    }
    let home = home_of_owner();
    let data = home.path().join("data");
    // Root alone may read the settings, and the password comes from root's input.
    let config = home.path().join("dryport.toml");
    fs::write(&config, "mode = \"mirror\"\n").unwrap();
    mode(&config, 0o600);
    init(&data, &["--config", text(&config)]);
    all_is_of(&data, OWNER);
    let root = |args: &[&str], input: &str| {
        let args = [args, &["--data", text(&data), "--config", text(&config)]].concat();
        let output = run_with_input(dryport(&args), input);
        assert!(output.status.success(), "{args:?}: {}", text_of(&output));
        all_is_of(&data, OWNER);
        String::from_utf8(output.stdout).unwrap()
    };
    let everything = |name: &str| {
        root(
            &["user", "add", name, "--password-stdin"],
            "pw-of-somebody\n",
        );
        root(
            &["user", "passwd", name, "--password-stdin"],
            "another-pw\n",
        );
        assert!(root(&["user", "list"], "").contains(name));
        root(&["quota", "set", name, "1GiB"], "");
        root(&["gc"], "");
        root(&["gc", "--purge-history"], "");
        root(&["check", "--repair", "--deep"], "");
        assert!(root(&["trust", "--pem"], "").contains("BEGIN CERTIFICATE"));
    };
    everything("stopped");
    root(&["gc", "--compact"], "");
    let [https, http] = free_ports();
    let (https, plain) = (format!("127.0.0.1:{https}"), format!("127.0.0.1:{http}"));
    let serve = serve_args(text(&data), &https, &plain);
    let mut server = Running::start(as_user(OWNER, &serve), home.path(), http);
    everything("running");
    let theirs = as_user(OWNER, &["user", "list", "--data", text(&data)]).output();
    assert!(theirs.unwrap().status.success());
    server.stop();
    all_is_of(&data, OWNER);
    // A directory of root's stays root's.
    let own = home.path().join("own");
    init(&own, &[]);
    all_is_of(&own, 0);
}

/// `name: values` of every thread of a process.
fn of_all_threads(pid: u32, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        found.extend(line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    found
}

#[test]
fn a_server_of_root_becomes_the_owner_in_all_threads() {
    if !is_root() {
        return;
    }
    let home = home_of_owner();
    let data = home.path().join("data");
    // A certificate whose key only root can read.
    let other = home.path().join("other");
    init(&other, &[]);
    run(&["trust", "--data", text(&other)]);
    let (cert, key) = (other.join("tls/leaf.pem"), other.join("tls/leaf.key"));
    // A port that only root may have, where there are such.
    let low = (700..1024).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let [high, http] = free_ports();
    let https = format!("127.0.0.1:{}", low.unwrap_or(high));
    let plain = format!("127.0.0.1:{http}");
    let mut command = dryport(&serve_args(text(&data), &https, &plain));
    command
        .env("DRYPORT_TLS__CERT", &cert)
        .env("DRYPORT_TLS__KEY", &key);
    let mut server = Running::start(command, home.path(), http);
    let pid = server.child.id();
    let threads = of_all_threads(pid, "Uid:").len();
    assert!(threads > 2, "{threads}");
    for (name, wanted) in [
        ("Uid:", "61001 61001 61001 61001"),
        ("Gid:", "61001 61001 61001 61001"),
        ("Groups:", "61001"),
        ("NoNewPrivs:", "1"),
        ("CapEff:", "0000000000000000"),
        ("CapPrm:", "0000000000000000"),
    ] {
        let all = of_all_threads(pid, name);
        assert!(all.iter().all(|one| one == wanted), "{name} {all:?}");
    }
    all_is_of(&data, OWNER);
    server.signal("HUP");
    server.wait_for("settings and certificate read again");
    let output = run(&["user", "list", "--data", text(&data)]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(get(http, "/v2/").contains("HTTP/1.1"), "{}", server.log());
    server.stop();
    all_is_of(&data, OWNER);
    // Settings that the owner wrote choose no file for root to read.
    let toml = format!(
        "[tls]\ncert = \"{}\"\nkey = \"{}\"\n",
        text(&cert),
        text(&key)
    );
    fs::write(data.join("dryport.toml"), toml).unwrap();
    chown(data.join("dryport.toml"), Some(OWNER), Some(OWNER)).unwrap();
    let output = run(&serve_args(text(&data), &https, &plain));
    let said = text_of(&output);
    assert!(
        !output.status.success() && said.contains("ermission denied"),
        "{said}"
    );
    // Nor a port that only root may have, which any other address of theirs shows.
    let Some(low) = low else { return };
    let settings = format!("[listen]\nhttps = [\"127.0.0.1:{low}\"]\n");
    fs::write(data.join("dryport.toml"), &settings).unwrap();
    let output = run(&["serve", "--data", text(&data), "--http", &plain]);
    let said = text_of(&output);
    assert!(
        !output.status.success() && said.contains("owner may not use the port"),
        "{said}"
    );
    assert!(said.contains("--config FILE"), "{said}");
    let config = home.path().join("of-root.toml");
    fs::write(&config, settings).unwrap();
    let args = [
        &serve_args(text(&data), &https, &plain)[..1],
        &[
            "--data",
            text(&data),
            "--config",
            text(&config),
            "--http",
            &plain,
        ],
    ]
    .concat();
    let mut server = Running::start(dryport(&args), home.path(), http);
    assert!(
        TcpStream::connect(("127.0.0.1", low)).is_ok(),
        "{}",
        server.log()
    );
    server.stop();
    fs::write(
        data.join("dryport.toml"),
        format!("[listen]\nhttps = [\"127.0.0.1:{high}\"]\n"),
    )
    .unwrap();
    let args = ["serve", "--data", text(&data), "--http", &plain];
    let mut server = Running::start(dryport(&args), home.path(), http);
    assert!(
        TcpStream::connect(("127.0.0.1", high)).is_ok(),
        "{}",
        server.log()
    );
    server.stop();
}

/// Somebody who listens as another user.
struct Impostor {
    thread: std::thread::JoinHandle<Vec<u8>>,
    stop: std::sync::mpsc::Sender<()>,
}

impl Impostor {
    /// Listens at `path`, which everybody may connect to then.
    fn at(path: &Path, uid: u32) -> Self {
        let at = path.to_owned();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let user = rustix::process::Uid::from_raw(uid);
            // Of this thread alone: the socket remembers who listened.
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            let listener = UnixListener::bind(&at).unwrap();
            listener.set_nonblocking(true).unwrap();
            ready.send(()).unwrap();
            let mut heard = Vec::new();
            while stopped.recv_timeout(Duration::from_millis(10)).is_err() {
                let Ok((mut stream, _)) = listener.accept() else {
                    continue;
                };
                let limit = Some(Duration::from_secs(5));
                stream.set_read_timeout(limit).unwrap();
                let mut some = vec![0; 4096];
                let count = stream.read(&mut some).unwrap_or(0);
                heard.extend_from_slice(&some[..count]);
            }
            heard
        });
        is_ready.recv().unwrap();
        mode(path, 0o777);
        Self { thread, stop }
    }

    /// Ends it; all that it was sent.
    fn heard(self) -> String {
        self.stop.send(()).unwrap();
        String::from_utf8_lossy(&self.thread.join().unwrap()).into_owned()
    }
}

#[test]
fn an_impostor_at_the_socket_gets_no_byte() {
    if !is_root() {
        return;
    }
    let home = home_of_owner();
    let data = home.path().join("data");
    init(&data, &[]);
    let open = home.path().join("open");
    fs::create_dir(&open).unwrap();
    mode(&open, 0o777);
    let socket = data.join("run/control.sock");
    let args = [
        "user",
        "add",
        "ann",
        "--password-stdin",
        "--data",
        text(&data),
    ];
    let theirs = open.join("sock");
    for command in [dryport(&args), as_user(OWNER, &args)] {
        let impostor = Impostor::at(&theirs, OTHER);
        fs::rename(&theirs, &socket).unwrap();
        let output = run_with_input(command, "the-password-of-ann\n");
        assert_eq!(impostor.heard(), "");
        refused(&output, &["is served by user 61002", "nothing was sent"]);
        fs::remove_file(&socket).unwrap();
    }
    // Root may be behind it, and the owner.
    for friend in [0, OWNER] {
        let server = Impostor::at(&theirs, friend);
        fs::rename(&theirs, &socket).unwrap();
        run_with_input(dryport(&args), "the-password-of-ann\n");
        let heard = server.heard();
        assert!(heard.contains("POST /control"), "{friend}: {heard}");
        fs::remove_file(&socket).unwrap();
    }
    // A link to a socket, of whoever, is none.
    let _listener = UnixListener::bind(&theirs).unwrap();
    symlink(&theirs, &socket).unwrap();
    let output = run_with_input(dryport(&args), "the-password-of-ann\n");
    refused(&output, &["control.sock: it is a symbolic link"]);
    fs::remove_file(&socket).unwrap();
    let output = run_with_input(dryport(&args), "the-password-of-ann\n");
    assert!(output.status.success(), "{} {}", ADMIN.0, text_of(&output));
}
