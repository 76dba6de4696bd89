//! Who is measured: a Dryport that is started here, and any registry by URL. Both are filled with the same content.

use std::fs;
use std::io::{Error, Result, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::client::{Answer, Connection, Endpoint};
use crate::work::{Content, FILES, REPO};

/// The account of the Dryport that is started here.
const LOGIN: &str = "bench:a-password-for-the-bench";

/// A registry to measure.
pub struct Target {
    pub name: String,
    pub plain: Option<Endpoint>,
    pub tls: Option<Endpoint>,
    /// The process whose CPU is counted.
    pub pid: Option<u32>,
    /// `user:password`.
    pub login: Option<String>,
    /// What it was filled with.
    pub content: Content,
    /// The process, if it was started here; it ends with this.
    pub own: Option<Own>,
}

/// A server of ours, with its directory.
pub struct Own {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Own {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `Authorization` lines of a target, each empty or ended by CRLF.
#[derive(Clone, Default)]
pub struct Rights {
    /// For reading: empty where everybody may.
    pub read: String,
    /// For writing.
    pub write: String,
}

impl Target {
    pub fn endpoint(&self, tls: bool) -> Option<&Endpoint> {
        if tls {
            self.tls.as_ref()
        } else {
            self.plain.as_ref()
        }
    }

    /// Any end point: for filling.
    pub fn any(&self) -> Result<&Endpoint> {
        let any = self.plain.as_ref().or(self.tls.as_ref());
        any.ok_or_else(|| Error::other(format!("{} has no URL", self.name)))
    }

    /// Starts a Dryport in a directory below `scratch`, with `serve` arguments of the caller's.
    pub async fn dryport(
        binary: &Path,
        scratch: Option<&PathBuf>,
        more: &[String],
    ) -> Result<Self> {
        let dir = match scratch {
            Some(at) => tempfile::tempdir_in(at)?,
            None => tempfile::tempdir()?,
        };
        let data = dir.path().join("data");
        let (user, password) = LOGIN.split_once(':').unwrap_or_default();
        let mut init = clean(binary)
            .args(["init", "--admin", user, "--password-stdin", "--data"])
            .arg(&data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        if let Some(mut input) = init.stdin.take() {
            writeln!(input, "{password}")?;
        }
        if !init.wait()?.success() {
            return Err(Error::other("dryport init failed"));
        }
        // Builds before there were any refuse this.
        let made = clean(binary)
            .args(["repo", "create", FILES, "--kind", "file", "--data"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !made.success() {
            eprintln!("this build has no repositories of files");
        }
        let (http, https) = (free_port()?, free_port()?);
        let log = fs::File::create(dir.path().join("log"))?;
        let child = clean(binary)
            .args(["serve", "--http", &format!("127.0.0.1:{http}")])
            .args(["--https", &format!("127.0.0.1:{https}"), "--data"])
            .arg(&data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let (pid, own) = (child.id(), Own { child, _dir: dir });
        let plain = Endpoint::new(&format!("http://127.0.0.1:{http}"), None)?;
        let end = Instant::now() + Duration::from_secs(30);
        while Connection::open(&plain).await.is_err() {
            if Instant::now() > end {
                return Err(Error::other("dryport does not answer"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ca = data.join("tls/ca.pem");
        Ok(Self {
            name: "dryport".to_owned(),
            tls: Some(Endpoint::new(
                &format!("https://localhost:{https}"),
                Some(&ca),
            )?),
            plain: Some(plain),
            pid: Some(pid),
            login: Some(LOGIN.to_owned()),
            content: Content::default(),
            own: Some(own),
        })
    }

    /// What to say to be let in here, asked anew: tokens expire, and may be for one host alone.
    pub async fn rights(&self, at: &Endpoint) -> Result<Rights> {
        let Some(login) = &self.login else {
            return Ok(Rights::default());
        };
        let login = base64::engine::general_purpose::STANDARD.encode(login);
        let basic = format!("Basic {login}");
        let ask = async |path: &str, authorization: &str| -> Result<Answer> {
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: {}\r\n{authorization}\r\n",
                at.host
            );
            Connection::open(at)
                .await?
                .ask(head.as_bytes(), &[], true)
                .await
        };
        let tags = format!("/v2/{REPO}/tags/list");
        let open = ask(&tags, "").await?;
        let start = format!(
            "POST /v2/{REPO}/blobs/uploads/ HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n",
            at.host
        );
        let challenge = Connection::open(at)
            .await?
            .ask(start.as_bytes(), &[], false)
            .await?;
        let wanted = challenge.header("www-authenticate");
        let write = if challenge.status != 401 {
            String::new()
        } else if wanted.len() > 7
            && wanted[..7].eq_ignore_ascii_case("bearer ")
            && self.own.is_none()
        {
            let path = token_path(wanted).ok_or_else(|| Error::other(wanted.to_owned()))?;
            let answer = ask(&path, &format!("authorization: {basic}\r\n")).await?;
            let json: serde_json::Value = serde_json::from_slice(&answer.body)?;
            let token = json["token"].as_str().or(json["access_token"].as_str());
            let token = token.ok_or_else(|| Error::other("no token was given"))?;
            format!("authorization: Bearer {token}\r\n")
        } else {
            format!("authorization: {basic}\r\n")
        };
        let read = if open.status == 401 {
            write.clone()
        } else {
            String::new()
        };
        Ok(Rights { read, write })
    }
}

/// Path and query of the token service that a challenge names, for pulling and pushing; it must be on the same host.
fn token_path(challenge: &str) -> Option<String> {
    let part = |name: &str| {
        let start = challenge.find(&format!("{name}=\""))? + name.len() + 2;
        let rest = &challenge[start..];
        Some(rest[..rest.find('"')?].to_owned())
    };
    let realm = part("realm")?;
    let rest = realm.split_once("://")?.1;
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    let service = part("service").unwrap_or_default();
    Some(format!(
        "{path}?service={service}&scope=repository:{REPO}:pull,push"
    ))
}

fn clean(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name
            .to_string_lossy()
            .to_ascii_uppercase()
            .starts_with("DRYPORT_")
        {
            command.env_remove(name);
        }
    }
    command
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
