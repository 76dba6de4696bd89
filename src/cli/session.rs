//! Where an operation is performed: by the running server over its control socket, where none runs by this process with the
//! data directory locked, or by another server over REST.

use super::exit::Failure;
use super::server::Server;
use crate::app::ops::{
    self, ControlRequest, Ctx, FaultKind, HandedFiles, Line, News, Operation, TAKEN, TOKEN,
};
use crate::app::{App, Entered};
use crate::fetch::unix::{AnswerLines, Connection, Socket, UnixError, UnixErrorKind};
use serde_json::Value;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Said where a person stopped the work of a server that runs on.
const STOPPED: &str = "stopped; what has come is kept, and the same command goes on from there";
/// Said where a server does not have the socket for files.
const OLDER: &str = "the running server is an older version of Dryport, which takes files in another way. Restart it with this version";
/// How long a server that starts or stops (lock held, no socket) is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Somebody who can answer requests.
pub enum CommandSession {
    /// The server behind these sockets.
    Remote {
        /// Where requests go.
        requests: Socket,
        /// Where open files go.
        files: Socket,
    },
    /// This process.
    Local {
        /// The open registry.
        app: Box<App>,
        /// Open files that wait for their operations.
        files: HandedFiles,
    },
    /// Another server, by REST.
    There(Box<Server>),
}

impl CommandSession {
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
                    return Ok(Self::Local {
                        app: Box::new(app),
                        files: HandedFiles::default(),
                    });
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
        let socket = |path| Socket::new(dir.config.data.join(path), dir.owner());
        let (requests, files) = (socket(ops::SOCKET), socket(ops::FILES_SOCKET));
        match Connection::open(&requests).await {
            Ok(_) => Ok(Some(Self::Remote { requests, files })),
            Err(UnixError::Absent(_)) => Ok(None),
            Err(error) => Err(not_connected(&error)),
        }
    }

    /// Has an operation performed; `news` hears how far it is.
    pub async fn ask<O: Operation>(
        &self,
        operation: O,
        news: News,
        stop: CancellationToken,
    ) -> Result<O::Reply, Failure> {
        match self {
            Self::Local { app, files } => {
                let ctx = Ctx::operator((**app).clone(), news, stop, files.clone());
                Ok(ops::perform(operation, &ctx).await?)
            }
            Self::Remote { requests, .. } => {
                tokio::select! {
                    reply = remote(requests, operation, news) => reply,
                    // The connection closes with the future; the server sees that and stops.
                    () = stop.cancelled() => Err(Failure::failed(STOPPED)),
                }
            }
            Self::There(server) => server.ask(operation).await,
        }
    }

    /// The same for what is quick.
    pub async fn quick<O: Operation>(&self, operation: O) -> Result<O::Reply, Failure> {
        self.ask(operation, Arc::new(|_| {}), CancellationToken::new())
            .await
    }

    /// Hands an open file over for an operation; answers the token by which that one names it.
    pub async fn hand_over(&self, file: BorrowedFd<'_>) -> Result<String, Failure> {
        let mut random = [0; TOKEN / 2];
        getrandom::fill(&mut random).map_err(Failure::failed)?;
        let token = format!("{:032x}", u128::from_be_bytes(random));
        let is_taken = match self {
            Self::Local { files, .. } => {
                let own = file.try_clone_to_owned().map_err(Failure::failed)?;
                files.put(token.clone(), own)
            }
            Self::Remote { files, .. } => {
                let connection = match Connection::open(files).await {
                    Err(UnixError::Absent(_)) => return Err(Failure::failed(OLDER)),
                    opened => opened.map_err(|e| not_connected(&e))?,
                };
                let answer = connection.hand_over(&token, file).await;
                answer.map_err(Failure::failed)? == TAKEN
            }
            Self::There(_) => false,
        };
        if is_taken {
            return Ok(token);
        }
        Err(Failure::failed(
            "the server has too many files of other commands to take; try again",
        ))
    }

    /// Gives the lock back, if it is ours.
    pub async fn close(self) {
        if let Self::Local { app, .. } = self {
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

async fn remote<O: Operation>(
    socket: &Socket,
    operation: O,
    news: News,
) -> Result<O::Reply, Failure> {
    let asked = ControlRequest {
        name: O::SPEC.name.to_owned(),
        input: serde_json::to_value(operation).map_err(Failure::failed)?,
    };
    let json = serde_json::to_vec(&asked).map_err(Failure::failed)?;
    let connection = Connection::open(socket)
        .await
        .map_err(|e| not_connected(&e))?;
    let lines = connection
        .post("/control", json)
        .await
        .map_err(Failure::failed)?;
    let reply = answered(lines, news).await?;
    serde_json::from_value(reply).map_err(|e| other_version(&e))
}

/// The reply at the end of an answer.
async fn answered(mut lines: AnswerLines, news: News) -> Result<Value, Failure> {
    while let Some(line) = lines.next().await.map_err(Failure::failed)? {
        match serde_json::from_slice(&line).map_err(|e| other_version(&e))? {
            Line::Progress(now) => news(now),
            Line::Ok(reply) => return Ok(reply),
            Line::Error(fault) => return Err(fault.into()),
        }
    }
    Err(Failure::failed(
        "the running server ended without an answer; its log says why",
    ))
}

/// The answer is not of the form that this version knows.
fn other_version(error: &serde_json::Error) -> Failure {
    Failure::failed(format!(
        "the running server is another version of Dryport and sent a reply that this command does not know ({error}). Restart the server with this version"
    ))
}
