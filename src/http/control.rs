//! Serves the local control API on `DIR/run/control.sock`: HTTP/1.1, `POST /control` with one JSON request, answered by
//! JSON lines (progress, then one result).
//!
//! The socket is the authorization: mode 0600 in a directory of mode 0700. What is asked for is done by
//! `app::control`; when the caller goes away, the work is told to stop.

use crate::app::App;
use crate::app::control::{self, Fault, FaultKind, Line, Reply, Request};
use crate::fetch::unix::ShortPath;
use futures_util::StreamExt as _;
use http_body_util::{BodyDataStream, BodyExt as _, Limited, StreamBody};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A request is at most this long; a CA bundle is the largest thing in it.
const REQUEST_MAX: usize = 4 << 20;
/// After a failed accept, mostly for want of file descriptors: this is also how often it is told of.
const PAUSE: Duration = Duration::from_secs(2);
/// Lines that may wait for a slow reader; further progress is left out, results wait.
const LINES: usize = 256;

/// The socket, ready to be served.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Makes the socket below the data directory, in place of one that an earlier server left: the caller holds the
    /// directory's lock, so nobody can be serving that one.
    #[expect(clippy::disallowed_methods, reason = "a socket, not content")]
    pub fn bind(data: &Path) -> std::io::Result<Self> {
        let path = data.join(control::SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let short = ShortPath::of(&path)?;
        let listener = UnixListener::bind(short.path())?;
        // Until here the directory's own mode kept others out.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves until `stop`; then running work is stopped and given a moment to answer.
    #[expect(clippy::disallowed_methods, reason = "a socket, not content")]
    pub async fn serve(self, app: App, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(connection(app.clone(), stream, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket accepts nothing; commands wait");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("a command is still waiting for its answer; it is cut off");
        }
        // Whoever comes next sees at once that nobody is here.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control socket not removed");
        }
    }
}

async fn connection(app: App, stream: UnixStream, stop: CancellationToken) {
    let service = service_fn(|request| answer(app.clone(), request, stop.child_token()));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "control connection");
    }
}

type Answer = hyper::Response<StreamBody<LineStream>>;

async fn answer(
    app: App,
    request: hyper::Request<Incoming>,
    stop: CancellationToken,
) -> Result<Answer, Infallible> {
    let (lines, received) = mpsc::channel(LINES);
    let stream = LineStream {
        received,
        _gone: stop.clone().drop_guard(),
    };
    let mut answer = hyper::Response::new(StreamBody::new(stream));
    if request.method() == hyper::Method::PUT
        && let Some(target) = request.uri().path().strip_prefix(control::FILES)
    {
        let target = percent_decode_str(target).decode_utf8_lossy().into_owned();
        // In this future: it ends with the connection, and the upload with it.
        let line = push(&app, &target, request).await;
        let _ = lines.try_send(encode(&line));
        return Ok(answer);
    }
    if request.method() != hyper::Method::POST || request.uri().path() != "/control" {
        *answer.status_mut() = hyper::StatusCode::NOT_FOUND;
        return Ok(answer);
    }
    match read(request).await {
        Ok(request) => {
            tokio::spawn(work(app, request, lines, stop));
        }
        Err(fault) => {
            // The channel is empty and its reader is alive.
            let _ = lines.try_send(encode(&Line::Error(fault)));
        }
    }
    Ok(answer)
}

/// Takes a file.
async fn push(app: &App, target: &str, request: hyper::Request<Incoming>) -> Line {
    let Some(len) = request.body().size_hint().exact() else {
        let text = "a file needs a length from the start";
        return Line::Error(Fault::new(FaultKind::Usage, text));
    };
    let mut body = BodyDataStream::new(request.into_body());
    let done = control::push(app, target, len, &mut body).await;
    // Who is refused sends the rest before it reads why.
    while let Some(Ok(_)) = body.next().await {}
    match done {
        Ok(pushed) => {
            tracing::info!(
                command = "push",
                who = "operator",
                name = pushed.name,
                "control request done"
            );
            Line::Ok(Reply::Pushed(pushed))
        }
        Err(fault) => {
            tracing::info!(command = "push", who = "operator", kind = ?fault.kind, error = %fault, "control request failed");
            Line::Error(fault)
        }
    }
}

async fn read(request: hyper::Request<Incoming>) -> Result<Request, Fault> {
    let wrong = |e: String| {
        Fault::new(
            FaultKind::Usage,
            format!("not a request that this server understands: {e}"),
        )
    };
    let body = Limited::new(request.into_body(), REQUEST_MAX)
        .collect()
        .await
        .map_err(|e| wrong(e.to_string()))?;
    // The parser's message could quote a password: only the place is told.
    serde_json::from_slice(&body.to_bytes()).map_err(|e| {
        wrong(format!(
            "fault at line {} column {}; command and server may be of different versions",
            e.line(),
            e.column()
        ))
    })
}

async fn work(app: App, request: Request, lines: mpsc::Sender<Bytes>, stop: CancellationToken) {
    let name = request.name();
    let heard = lines.clone();
    let news = Arc::new(move |now| {
        // A reader that lags loses news, never the result.
        let _ = heard.try_send(encode(&Line::Progress(now)));
    });
    let done = control::execute(&app, request, news, stop).await;
    let line = match done {
        Ok(reply) => {
            tracing::info!(command = name, who = "operator", "control request done");
            Line::Ok(reply)
        }
        Err(fault) => {
            tracing::info!(command = name, who = "operator", kind = ?fault.kind, error = %fault, "control request failed");
            Line::Error(fault)
        }
    };
    // Nobody there any more: the work is done all the same.
    let _ = lines.send(encode(&line)).await;
}

fn encode(line: &Line) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_else(|_| {
        br#"{"error":{"kind":"failed","message":"the answer cannot be written as JSON"}}"#.to_vec()
    });
    text.push(b'\n');
    text.into()
}

/// The answer's body: lines as they come. Dropping it (the caller went away) stops the work.
struct LineStream {
    received: mpsc::Receiver<Bytes>,
    _gone: DropGuard,
}

impl futures_util::Stream for LineStream {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.received
            .poll_recv(cx)
            .map(|line| line.map(|bytes| Ok(Frame::data(bytes))))
    }
}
