//! Where a command's work is done: by the running server over its control socket, or, where none runs, by this process
//! with the data directory locked.

use super::exit::Failure;
use crate::app::control::{self, FaultKind, Line, News, Reply, Request};
use crate::app::{App, Entered};
use crate::fetch::unix::{Connection, Lines, Socket, UnixError, UnixErrorKind};
use bytes::Bytes;
use futures_util::Stream;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Said where a person stopped the work of a server that runs on.
const STOPPED: &str = "stopped; what has come is kept, and the same command goes on from there";
/// How long a server that starts or stops (lock held, no socket) is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Somebody who can answer requests.
pub enum Session {
    /// The server behind this socket.
    Remote(Socket),
    /// This process.
    Local(Box<App>),
}

impl Session {
    /// The running server of this data directory, else the directory itself, opened and locked for `command`.
    pub async fn open(dir: &Entered, command: &str) -> Result<Self, Failure> {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(remote) = Self::running(dir).await? {
                return Ok(remote);
            }
            let (dir, holder) = (dir.clone(), format!("dryport {command}"));
            let opened =
                tokio::task::spawn_blocking(move || App::open_existing(dir, &holder)).await;
            match opened.map_err(Failure::failed)? {
                Ok(app) => {
                    // No server does it meanwhile. What cannot be taken back holds up its own repositories alone.
                    if let Err(error) = app.tidy_stages(false).await {
                        tracing::warn!(%error, "a big change that was cut off cannot be taken back now");
                    }
                    return Ok(Self::Local(Box::new(app)));
                }
                Err(error) if is_locked(&error) => {
                    if tokio::time::Instant::now() >= patience {
                        return Err(locked(&error));
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The running server, if there is one.
    pub async fn running(dir: &Entered) -> Result<Option<Self>, Failure> {
        let path = dir.config.data.join(control::SOCKET);
        let socket = Socket::new(path, dir.owner());
        match Connection::open(&socket).await {
            Ok(_) => Ok(Some(Self::Remote(socket))),
            Err(UnixError::Absent(_)) => Ok(None),
            Err(error) => Err(not_connected(&error)),
        }
    }

    /// Has one thing done; `news` hears how far it is.
    pub async fn ask(
        &self,
        request: Request,
        news: News,
        stop: CancellationToken,
    ) -> Result<Reply, Failure> {
        match self {
            Self::Local(app) => Ok(control::execute(app, request, news, stop).await?),
            Self::Remote(socket) => {
                tokio::select! {
                    reply = remote(socket.clone(), request, news) => reply,
                    // The connection closes with the future; the server sees that and stops.
                    () = stop.cancelled() => Err(Failure::failed(STOPPED)),
                }
            }
        }
    }

    /// The same for what is quick.
    pub async fn quick(&self, request: Request) -> Result<Reply, Failure> {
        self.ask(request, Arc::new(|_| {}), CancellationToken::new())
            .await
    }

    /// Has a file of `len` bytes taken; `target` is repository and path, as they are and percent-encoded.
    pub async fn push(
        &self,
        (target, encoded): (&str, &str),
        len: u64,
        body: impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + Unpin + 'static,
    ) -> Result<Reply, Failure> {
        match self {
            Self::Local(app) => {
                let pushed = control::push(app, target, len, body).await?;
                Ok(Reply::Pushed(pushed))
            }
            Self::Remote(socket) => {
                let path = format!("{}{encoded}", control::FILES);
                let connection = Connection::open(socket).await;
                let connection = connection.map_err(|e| not_connected(&e))?;
                let lines = connection.put(&path, len, body).await;
                answered(lines.map_err(Failure::failed)?, Arc::new(|_| {})).await
            }
        }
    }

    /// Gives the lock back, if it is ours.
    pub async fn close(self) {
        if let Self::Local(app) = self {
            app.close().await;
        }
    }
}

fn is_locked(error: &crate::app::AppError) -> bool {
    use crate::store::StoreErrorKind;
    matches!(error, crate::app::AppError::Store(store) if store.kind() == StoreErrorKind::Locked)
}

/// The text names the holder, who does not answer.
fn locked(error: &crate::app::AppError) -> Failure {
    Failure::new(
        FaultKind::State,
        format!(
            "{error}. It does not answer on its control socket: wait until it has ended, or stop it"
        ),
    )
}

fn not_connected(error: &UnixError) -> Failure {
    match error.kind() {
        UnixErrorKind::Foreign => Failure::new(FaultKind::State, error.to_string()),
        _ => Failure::failed(error),
    }
}

async fn remote(socket: Socket, request: Request, news: News) -> Result<Reply, Failure> {
    let json = serde_json::to_vec(&request).map_err(Failure::failed)?;
    let connection = Connection::open(&socket)
        .await
        .map_err(|e| not_connected(&e))?;
    let lines = connection
        .post("/control", json)
        .await
        .map_err(Failure::failed)?;
    answered(lines, news).await
}

/// The reply at the end of an answer.
async fn answered(mut lines: Lines, news: News) -> Result<Reply, Failure> {
    while let Some(line) = lines.next().await.map_err(Failure::failed)? {
        let line: Line = serde_json::from_slice(&line).map_err(|e| {
            Failure::failed(format!("the running server answers in a way that this command does not know ({e}). Restart the server with this version"))
        })?;
        match line {
            Line::Progress(now) => news(now),
            Line::Ok(reply) => return Ok(reply),
            Line::Error(fault) => return Err(fault.into()),
        }
    }
    Err(Failure::failed(
        "the running server ended without an answer; its log says why",
    ))
}

/// The answer was of another kind than what was asked for: server and command are of different versions.
pub fn unexpected() -> Failure {
    Failure::failed(
        "the running server gave an answer to another question; restart it with this version",
    )
}
