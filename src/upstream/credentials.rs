//! What to log in to an upstream with, looked up where its settings say.
//!
//! Owns the way from a reference to a secret. The secret goes into one client and nowhere else: no row, reply, log line or
//! error holds it, and so none repeats what a file or a program said.

use super::error::UpstreamError;
use super::settings::{CredentialSource, UpstreamSettings, UpstreamUrl};
use crate::fetch::Credential;
use crate::fetch::credentials::CredentialFiles;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what it said is used again.
const KEEP: Duration = Duration::from_mins(10);
/// So long it is not doubted because it was refused.
const SETTLED: Duration = Duration::from_secs(10);
/// As much is read of a file or of what a program prints.
const MOST: u64 = 64 << 10;
/// How often a program is looked at whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// The bits of a mode by which everybody may read.
const OTHERS: u32 = 0o004;

/// What was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// What to log in with; none is as anybody.
    pub credential: Option<Credential>,
    /// What is odd about where it comes from.
    pub warning: Option<String>,
}

/// What a program said last, until it does not hold any more.
#[derive(Debug, Default)]
pub(super) struct Login {
    kept: Mutex<Option<(Instant, Credential)>>,
}

impl Login {
    /// What to log in with at one address. Blocks: it may be a program that says it.
    ///
    /// # Errors
    /// [`UpstreamError::Secret`] where it cannot be had.
    pub fn of(
        &self,
        settings: &UpstreamSettings,
        url: &UpstreamUrl,
    ) -> Result<Found, UpstreamError> {
        let CredentialSource::Command(argv) = &settings.credentials else {
            return look_up(settings, url);
        };
        // One that waits for another's run has what that one said.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = kept.as_ref().filter(|(since, _)| since.elapsed() < KEEP);
        if let Some((_, credential)) = fresh {
            return Ok(found(credential.clone()));
        }
        *kept = None;
        let credential = said(argv, PATIENCE)?;
        *kept = Some((Instant::now(), credential.clone()));
        Ok(found(credential))
    }

    /// Forgets what a program said: it was refused. What is younger than ten seconds stays, so that a client that is refused
    /// again and again runs no program each time.
    pub fn forget(&self) {
        self.forget_older(SETTLED);
    }

    fn forget_older(&self, age: Duration) {
        // While a program runs nothing old is kept.
        if let Ok(mut kept) = self.kept.try_lock()
            && kept
                .as_ref()
                .is_some_and(|(since, _)| since.elapsed() >= age)
        {
            *kept = None;
        }
    }
}

fn found(credential: Credential) -> Found {
    Found {
        credential: Some(credential),
        ..Found::default()
    }
}

fn secret(text: impl Into<String>) -> UpstreamError {
    UpstreamError::Secret(text.into())
}

/// All but commands. Blocks.
fn look_up(settings: &UpstreamSettings, url: &UpstreamUrl) -> Result<Found, UpstreamError> {
    match &settings.credentials {
        CredentialSource::Anonymous | CredentialSource::Command(_) => Ok(Found::default()),
        CredentialSource::Environment { user, password } => {
            let user = variable(user)?;
            let password = variable(password)?;
            Ok(found(Credential::Basic { user, password }))
        }
        CredentialSource::File(path) => of_file(Path::new(path)),
        CredentialSource::DockerConfig(path) => of_docker(path, settings, url),
    }
}

/// What docker's file has for an address, else for the first of the upstream's that it knows.
fn of_docker(
    path: &str,
    settings: &UpstreamSettings,
    url: &UpstreamUrl,
) -> Result<Found, UpstreamError> {
    let files = CredentialFiles::read(Some(Path::new(path)));
    for url in std::iter::once(url).chain(&settings.urls) {
        let known = files.lookup(url.host(), "");
        if let Some(credential) = known.map_err(|error| secret(error.to_string()))? {
            return Ok(found(credential));
        }
    }
    let warning = format!(
        "{path} has no log-in for {}: it is asked as anybody",
        url.host()
    );
    Ok(Found {
        warning: Some(warning),
        ..Found::default()
    })
}

fn variable(name: &str) -> Result<String, UpstreamError> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(secret(format!(
            "the environment variable {name}, which the credentials are to come from, is not set for the server (or is no text)"
        ))),
    }
}

/// `USER:PASSWORD` on the first line of a file.
fn of_file(path: &Path) -> Result<Found, UpstreamError> {
    let failed = |e: std::io::Error| {
        secret(format!(
            "the file of credentials {} cannot be read: {e}",
            path.display()
        ))
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).map_err(failed)?;
    let credential = pair(&text).ok_or_else(|| {
        secret(format!(
            "the first line of the file of credentials {} is not USER:PASSWORD",
            path.display()
        ))
    })?;
    let warning = (mode & OTHERS != 0).then(|| {
        format!(
            "everybody on this machine may read the file of credentials {}: make it its owner's alone (chmod 600)",
            path.display()
        )
    });
    Ok(Found {
        warning,
        ..found(credential)
    })
}

/// `USER:PASSWORD` on the first line.
fn pair(text: &[u8]) -> Option<Credential> {
    let text = std::str::from_utf8(text).ok()?;
    let (user, password) = text.lines().next()?.split_once(':')?;
    (!user.is_empty()).then(|| Credential::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// What docker's credential helpers print.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Runs a program without a shell, in a process group of its own, and reads what it prints. Blocks.
fn said(argv: &[String], patience: Duration) -> Result<Credential, UpstreamError> {
    let Some((program, rest)) = argv.split_first() else {
        return Err(secret("the command for credentials is empty"));
    };
    let failed = |why: String| secret(format!("the command for credentials {program} {why}"));
    let end = Instant::now() + patience;
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| failed(format!("cannot be run: {e}")))?;
    let (to, text) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        // It ends with the last process that holds the other end; nobody waits for it beyond the program's time.
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let read = out.take(MOST).read_to_end(&mut text);
            drop(to.send(read.map(|_| text)));
        });
    }
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
            Ok(None) => {
                kill(&mut child);
                let seconds = patience.as_secs();
                return Err(failed(format!(
                    "did not end within {seconds} s and was stopped"
                )));
            }
            Err(e) => {
                kill(&mut child);
                return Err(failed(format!("cannot be waited for: {e}")));
            }
        }
    };
    if !status.success() {
        // What it printed may hold the secret.
        return Err(failed(format!(
            "failed ({status}); what it printed is not shown"
        )));
    }
    let left = end.saturating_duration_since(Instant::now()).max(LOOK);
    let text = text.recv_timeout(left).ok().and_then(Result::ok);
    let text = text.ok_or_else(|| failed("ended, but what it printed did not".to_owned()))?;
    credential_of(&text).ok_or_else(|| {
        failed("printed neither USER:PASSWORD nor JSON of Username and Secret".to_owned())
    })
}

/// Ends a program and what it started.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        // It may have ended by itself meanwhile.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn credential_of(text: &[u8]) -> Option<Credential> {
    let text = text.trim_ascii();
    if !text.starts_with(b"{") {
        return pair(text);
    }
    let answer: Answer = serde_json::from_slice(text).ok()?;
    match answer.username.as_str() {
        "<token>" => Some(Credential::IdentityToken(answer.secret)),
        user if user.is_empty() || user.contains(':') => None,
        user => Some(Credential::Basic {
            user: user.to_owned(),
            password: answer.secret,
        }),
    }
}

#[cfg(test)]
#[path = "tests/credentials.rs"]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests;
