//! Starts the server on free ports in a directory of its own, and speaks HTTP to it.

pub mod broken;
mod client;
pub mod clock;
pub mod content;
pub mod damage;
pub mod fake;
pub mod upstream;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use tempfile::TempDir;

use client::PATIENCE;
pub use client::{Client, Reply, with_query};

pub const ADMIN: (&str, &str) = ("ci", "s3cret-of-ci");
pub const BINARY: &str = env!("CARGO_BIN_EXE_dryport");

/// A command of the binary with nothing of the caller's settings in it.
pub fn dryport(args: &[&str]) -> Command {
    let mut command = clean(BINARY);
    command.args(args);
    command
}

pub fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_lowercase();
        if text.starts_with("dryport_") || text.starts_with("ssl_cert") || text.ends_with("_proxy")
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Says that this machine lacks or forbids what the calling test needs. Not by `eprintln!`: the test harness swallows what
/// a test that passes prints, and `tests/run` counts these lines.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let why: Vec<&str> = why.split_whitespace().collect();
    let _ = writeln!(
        std::io::stderr(),
        "SKIP blackbox: {test}: {}",
        why.join(" ")
    );
}

/// How long a test waits for what must come: generous, since only a test that fails waits it out.
pub const SOON: Duration = Duration::from_mins(2);

/// Waits for a condition. A test that measures by sleeping fails on a machine that is busy.
pub async fn until(what: &str, end: Duration, mut condition: impl AsyncFnMut() -> bool) {
    found(what, end, async || condition().await.then_some(())).await;
}

/// The same for a condition that has something to show.
pub async fn found<T>(what: &str, end: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < end, "not in {end:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// [`until`] for a test, or a thread of one, that has no runtime.
pub fn until_blocking(what: &str, end: Duration, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < end, "not in {end:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command to its end with `input` on its standard input.
pub fn run_with_input(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses early may close its input first; that is its right.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn run(args: &[&str]) -> Output {
    run_with_input(dryport(args), "")
}

/// Runs and demands exit code 0; gives standard output.
pub fn run_ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(
        output.status.success(),
        "dryport {args:?}: {}",
        text_of(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Both streams of a finished command, for messages and for looking into.
pub fn text_of(output: &Output) -> String {
    format!(
        "exit {:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The value of an Authorization header.
pub fn basic(name: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    format!("Basic {pair}")
}

/// Ports that nobody listens on. Each is given out once, and none is of those that the kernel gives to connections: a server
/// that starts again on its port finds it free.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(7919);
    std::array::from_fn(|_| {
        loop {
            let next = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let port = 20_000 + (next % 12_000) as u16;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

/// One such port.
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

pub fn init(dir: &Path, more: &[&str]) {
    let mut args = vec![
        "init",
        "--data",
        dir.to_str().unwrap(),
        "--admin",
        ADMIN.0,
        "--password-stdin",
    ];
    args.extend_from_slice(more);
    let output = run_with_input(dryport(&args), &format!("{}\n", ADMIN.1));
    assert!(output.status.success(), "init: {}", text_of(&output));
}

/// A running server; ends with kill -9 when dropped, so that each test is a crash test too.
pub struct Server {
    child: Child,
    home: TempDir,
    pub http: u16,
    pub https: u16,
    args: Vec<String>,
    env: Vec<(String, String)>,
    under: Vec<String>,
}

impl Server {
    /// In mirror mode, with the admin account.
    pub async fn start() -> Self {
        Self::start_with(&[], &[]).await
    }

    /// `init` and `serve` with more arguments each.
    pub async fn start_with(init_args: &[&str], serve_args: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        init(&home.path().join("data"), init_args);
        Self::serve(home, serve_args, &[]).await
    }

    pub async fn serve(home: TempDir, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::serve_under(&[], home, args, env).await
    }

    /// As [`Server::serve`], started by another command (which must `exec` it), such as `prlimit --nofile=64`.
    pub async fn serve_under(
        under: &[&str],
        home: TempDir,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let under: Vec<String> = under.iter().map(ToString::to_string).collect();
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let env = env
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect::<Vec<_>>();
        let [http, https] = free_ports();
        let child = spawn(&under, home.path(), http, https, &args, &env);
        let mut server = Self {
            child,
            home,
            http,
            https,
            args,
            env,
            under,
        };
        // Another test's client may have been given one of the ports meanwhile.
        for _ in 0..3 {
            match server.ready().await {
                Err(log) if log.contains("in use") => {
                    [server.http, server.https] = free_ports();
                    server.spawn();
                }
                other => {
                    other.unwrap();
                    break;
                }
            }
        }
        server
    }

    fn spawn(&mut self) {
        let (http, https) = (self.http, self.https);
        let (under, args, env) = (&self.under, &self.args, &self.env);
        self.child = spawn(under, self.home.path(), http, https, args, env);
    }

    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The data directory as an argument.
    pub fn dir(&self) -> String {
        self.data().to_str().unwrap().to_string()
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    /// Returns when the server answers; its log if it ended or does not.
    async fn ready(&mut self) -> Result<(), String> {
        let client = self.anonymous();
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if let Some(reply) = client.try_send("GET", "/readyz", &[], Vec::new()).await
                && reply.status == 200
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("the server ended with {status}:\n{}", self.log()));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Err(format!("the server is not ready:\n{}", self.log()))
    }

    /// kill -9, as a power button would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name and gives the exit status.
    pub fn signal(&mut self, name: &str) {
        let pid = self.pid().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The exit code, if the server ends within the time.
    pub async fn exit_code(&mut self, within: Duration) -> Option<i32> {
        let end = Instant::now() + within;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        None
    }

    /// The directory above the data, of a server that has ended; it stays.
    pub fn into_home(mut self) -> TempDir {
        std::mem::replace(&mut self.home, tempfile::tempdir().unwrap())
    }

    /// Starts again on the same directory and the same ports.
    pub async fn restart(&mut self) {
        self.spawn();
        self.ready().await.unwrap();
    }

    /// A client with the admin's name and password.
    pub fn admin(&self) -> Client {
        self.client(Some(ADMIN))
    }

    pub fn anonymous(&self) -> Client {
        self.client(None)
    }

    pub fn client(&self, user: Option<(&str, &str)>) -> Client {
        let auth = user.map(|(name, password)| basic(name, password));
        Client::new(format!("http://127.0.0.1:{}", self.http), auth)
    }

    pub fn bearer(&self, token: &str) -> Client {
        Client::new(
            format!("http://127.0.0.1:{}", self.http),
            Some(format!("Bearer {token}")),
        )
    }

    /// A client with the admin's name and password that speaks TLS and one version of HTTP.
    pub fn over_tls(&self, http2: bool) -> Client {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true);
        let http = if http2 {
            http.http2_prior_knowledge()
        } else {
            http.http1_only()
        };
        Client {
            base: format!("https://127.0.0.1:{}", self.https),
            auth: Some(basic(ADMIN.0, ADMIN.1)),
            http: http.timeout(PATIENCE).build().unwrap(),
        }
    }

    /// The name of the token service, from the challenge.
    pub async fn service(&self) -> String {
        let reply = self.anonymous().get("/v2/").await;
        let challenge = reply.header("www-authenticate").to_string();
        let from = challenge
            .find("service=\"")
            .expect("a service in the challenge")
            + "service=\"".len();
        challenge[from..].split('"').next().unwrap().to_string()
    }

    /// `dryport user add` with one role, through the running server.
    pub fn add_user(&self, name: &str, password: &str, role: &[&str]) {
        let dir = self.dir();
        let mut args = vec!["user", "add", "--data", &dir, name, "--password-stdin"];
        args.extend_from_slice(role);
        let output = run_with_input(dryport(&args), &format!("{password}\n"));
        assert!(output.status.success(), "user add: {}", text_of(&output));
    }

    /// Sends bytes as they are and reads one answer, or until the server closes; for what a proper client cannot say.
    pub fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let mut buffer = [0_u8; 8192];
        while !is_whole(&answer) {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => answer.extend_from_slice(&buffer[..n]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Whether an answer has all the bytes that its head speaks of.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
    length.is_some_and(|l| answer.len() - end - 4 >= l.trim().parse().unwrap())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(4000);
            eprintln!(
                "--- log of the server ---\n{}",
                log.get(from..).unwrap_or(&log)
            );
        }
    }
}

fn spawn(
    under: &[String],
    home: &Path,
    http: u16,
    https: u16,
    args: &[String],
    env: &[(String, String)],
) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(home.join("log"))
        .unwrap();
    let data = home.join("data");
    let serve = ["serve", "--data", data.to_str().unwrap()];
    let mut command = match under.split_first() {
        None => dryport(&serve),
        Some((first, more)) => {
            let mut command = clean(first);
            command.args(more).arg(BINARY).args(serve);
            command
        }
    };
    command
        .args([
            "--https",
            &format!("127.0.0.1:{https}"),
            "--http",
            &format!("127.0.0.1:{http}"),
        ])
        .args(args)
        .envs(env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
