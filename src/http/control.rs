//! Serves operations on `DIR/run/control.sock`: HTTP/1.1, `POST /control` with one JSON request, answered by JSON lines
//! (progress, then one result); and takes the descriptors that belong to some of them on `DIR/run/files.sock`.
//!
//! The socket is the authorization: mode 0600 in a directory of mode 0700. What is asked for is done by `app::ops`; when the
//! caller goes away, the work is told to stop.

mod files;

use crate::app::App;
use crate::app::ops::{self, ControlRequest, Ctx, Fault, HandedFiles, Line};
use crate::fetch::unix::ShortPath;
use crate::telemetry::cut;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
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

/// The two sockets, ready to be served: requests, and the descriptors that belong to some of them.
#[derive(Debug)]
pub struct Control {
    requests: Bound,
    files: Bound,
}

/// A socket.
#[derive(Debug)]
struct Bound {
    listener: UnixListener,
    path: PathBuf,
}

impl Bound {
    #[expect(clippy::disallowed_methods, reason = "a socket, not content")]
    fn new(path: PathBuf) -> std::io::Result<Self> {
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

    /// The next connection; a failure is told of, and waited out.
    async fn accept(&self) -> Option<UnixStream> {
        match self.listener.accept().await {
            Ok((stream, _)) => Some(stream),
            Err(error) => {
                tracing::warn!(%error, "the control socket accepts nothing; commands wait");
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    /// Whoever comes next sees at once that nobody is here.
    #[expect(clippy::disallowed_methods, reason = "a socket, not content")]
    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control socket not removed");
        }
    }
}

impl Control {
    /// Makes the sockets below the data directory, in place of those that an earlier server left: the caller holds the
    /// directory's lock, so nobody can be serving them.
    pub fn bind(data: &Path) -> std::io::Result<Self> {
        Ok(Self {
            requests: Bound::new(data.join(ops::SOCKET))?,
            files: Bound::new(data.join(ops::FILES_SOCKET))?,
        })
    }

    /// Serves until `stop`; then running work is stopped and given a moment to answer.
    pub async fn serve(self, app: App, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let files = HandedFiles::default();
        let served = Served {
            app,
            files: files.clone(),
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                stream = self.requests.accept() => if let Some(stream) = stream {
                    tasks.spawn(connection(served.clone(), stream, stop.clone()));
                },
                stream = self.files.accept() => if let Some(stream) = stream {
                    tasks.spawn(files::take(stream, files.clone(), stop.clone()));
                },
            }
        }
        tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("a command is still waiting for its answer; it is cut off");
        }
        self.requests.remove();
        self.files.remove();
    }
}

async fn connection(served: Served, stream: UnixStream, stop: CancellationToken) {
    let service = service_fn(|request| answer(served.clone(), request, stop.child_token()));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "control connection");
    }
}

type Answer = hyper::Response<StreamBody<LineStream>>;

/// What a connection needs.
#[derive(Clone)]
struct Served {
    app: App,
    files: HandedFiles,
}

async fn answer(
    served: Served,
    request: hyper::Request<Incoming>,
    stop: CancellationToken,
) -> Result<Answer, Infallible> {
    let (lines, received) = mpsc::channel(LINES);
    let stream = LineStream {
        received,
        _gone: stop.clone().drop_guard(),
    };
    let mut answer = hyper::Response::new(StreamBody::new(stream));
    if request.method() != hyper::Method::POST || request.uri().path() != "/control" {
        *answer.status_mut() = hyper::StatusCode::NOT_FOUND;
        return Ok(answer);
    }
    match read(request).await {
        Ok(asked) => {
            tokio::spawn(work(served, asked, lines, stop));
        }
        Err(fault) => {
            // The channel is empty and its reader is alive.
            let _ = lines.try_send(encode(&Line::Error(fault)));
        }
    }
    Ok(answer)
}

async fn read(request: hyper::Request<Incoming>) -> Result<ControlRequest, Fault> {
    let wrong =
        |e: String| Fault::usage(format!("not a request that this server understands: {e}"));
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

async fn work(
    served: Served,
    asked: ControlRequest,
    lines: mpsc::Sender<Bytes>,
    stop: CancellationToken,
) {
    let heard = lines.clone();
    let news = Arc::new(move |now| {
        // A reader that lags loses news, never the result.
        let _ = heard.try_send(encode(&Line::Progress(now)));
    });
    let ctx = Ctx::operator(served.app, news, stop, served.files);
    let done = match ops::named(&asked.name) {
        Some(row) => row.call(&ctx, asked.input).await,
        None => Err(Fault::usage(format!(
            "this server knows no \"{}\"; command and server are of different versions",
            cut(&asked.name)
        ))),
    };
    let line = match done {
        Ok(reply) => Line::Ok(reply),
        Err(fault) => Line::Error(fault),
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
