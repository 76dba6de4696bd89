//! HTTP/1.1 over a Unix socket: one request, an answer of lines; and open files, handed over beside it. How the command line
//! talks to a running server.
//!
//! Knows paths and bytes; what they mean is settled by who calls.

use crate::datadir;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs::File;
use std::io::{Error, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// No socket is there, or nobody listens on it.
    #[error("no server listens on {0}")]
    Absent(PathBuf),
    /// The socket belongs to somebody else.
    #[error("{0}: permission denied. Run this command as the user who runs the server, or as root")]
    Denied(PathBuf),
    /// Somebody else answers there.
    #[error(
        "{socket} is served by {who}, who is neither the user of this command, nor root, nor whose the data directory is: nothing was sent. See what that program is, and stop it",
        socket = .socket.display()
    )]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// Who listens.
        who: String,
    },
    /// What has the socket's name is none.
    #[error("{socket}: {error}", socket = .0.display(), error = .1)]
    Strange(PathBuf, #[source] Error),
    /// The connection broke, or the answer is no HTTP.
    #[error("the connection to the running server broke: {0}")]
    Broken(String),
}

/// The kinds of [`UnixError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnixErrorKind {
    /// Nobody is there.
    Absent,
    /// Not allowed.
    Denied,
    /// Somebody else is there, or no socket.
    Foreign,
    /// It did not work.
    Broken,
}

impl UnixError {
    /// What kind it is.
    pub fn kind(&self) -> UnixErrorKind {
        match self {
            Self::Absent(_) => UnixErrorKind::Absent,
            Self::Denied(_) => UnixErrorKind::Denied,
            Self::Foreign { .. } | Self::Strange(..) => UnixErrorKind::Foreign,
            Self::Broken(_) => UnixErrorKind::Broken,
        }
    }

    fn connect(socket: &Path, error: &Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                Self::Absent(socket.to_owned())
            }
            ErrorKind::PermissionDenied => Self::Denied(socket.to_owned()),
            _ => Self::Broken(format!("{}: {error}", socket.display())),
        }
    }
}

/// A socket's path in at most 107 bytes, which is all that the system takes: a long one is named through its directory,
/// which stays open as long as this value lives.
#[derive(Debug)]
pub struct ShortPath {
    path: PathBuf,
    _dir: Option<File>,
}

impl ShortPath {
    /// The short form of `socket`; its directory must exist if the path is long.
    pub fn of(socket: &Path) -> std::io::Result<Self> {
        let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(Error::new(ErrorKind::InvalidInput, "a socket needs a name"));
        };
        if socket.as_os_str().len() <= 100 {
            return Ok(Self {
                path: socket.to_owned(),
                _dir: None,
            });
        }
        let dir = File::open(dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _dir: Some(dir),
        })
    }

    /// The path to bind or connect to.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A socket, and who may be behind it: this process's user, root, or one more.
#[derive(Debug, Clone)]
pub struct Socket {
    path: PathBuf,
    owner: u32,
}

impl Socket {
    /// The socket at `path`; `owner` is who may serve it beside us and root.
    pub fn new(path: PathBuf, owner: u32) -> Self {
        Self { path, owner }
    }

    /// Whether something is there, and is a socket.
    fn look(&self) -> Result<(), UnixError> {
        let about = self
            .path
            .symlink_metadata()
            .map_err(|e| UnixError::connect(&self.path, &e))?;
        if about.file_type().is_socket() {
            return Ok(());
        }
        let why = datadir::strange(about.file_type(), "socket");
        Err(UnixError::Strange(self.path.clone(), why))
    }

    /// Who called `listen`, by the kernel's word.
    fn peer(&self, stream: &UnixStream) -> Result<(), UnixError> {
        let peer = stream
            .peer_cred()
            .map_err(|e| UnixError::connect(&self.path, &e))?;
        let ours = rustix::process::geteuid().as_raw();
        if [ours, 0, self.owner].contains(&peer.uid()) {
            return Ok(());
        }
        Err(UnixError::Foreign {
            socket: self.path.clone(),
            who: datadir::name_of(peer.uid()),
        })
    }
}

/// An open connection to the server behind a socket.
#[derive(Debug)]
pub struct Connection(UnixStream);

impl Connection {
    /// Connects; says who is not there or not allowed. Nothing is sent to anybody whom `socket` does not name.
    pub async fn open(socket: &Socket) -> Result<Self, UnixError> {
        let fail = |e: Error| UnixError::connect(&socket.path, &e);
        socket.look()?;
        let short = ShortPath::of(&socket.path).map_err(fail)?;
        let stream = UnixStream::connect(short.path()).await.map_err(fail)?;
        socket.peer(&stream)?;
        Ok(Self(stream))
    }

    /// Sends `json` to `path` and hands back the answer's lines as they come. Dropping them closes the connection, which
    /// tells the server to stop.
    pub async fn post(self, path: &str, json: Vec<u8>) -> Result<AnswerLines, UnixError> {
        let request = hyper::Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(json)))
            .map_err(|e| UnixError::Broken(e.to_string()))?;
        self.send(request).await
    }

    /// Hands an open file over, in one message with its token; answers what the other side says, one byte.
    pub async fn hand_over(self, token: &str, file: BorrowedFd<'_>) -> Result<u8, UnixError> {
        let broken = |e: Error| UnixError::Broken(e.to_string());
        let mut stream = self.0;
        loop {
            stream.writable().await.map_err(broken)?;
            match stream.try_io(Interest::WRITABLE, || send_file(&stream, token, file)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => break sent.map_err(broken)?,
            }
        }
        stream.read_u8().await.map_err(broken)
    }

    async fn send<B>(self, request: hyper::Request<B>) -> Result<AnswerLines, UnixError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let broken = |e: hyper::Error| UnixError::Broken(e.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(self.0))
            .await
            .map_err(broken)?;
        let driver = tokio::spawn(async move {
            // What goes wrong here shows as the end of the body.
            let _ = connection.await;
        })
        .abort_handle();
        let driver = Driver(driver);
        let answer = sender.send_request(request).await.map_err(broken)?;
        if !answer.status().is_success() {
            return Err(UnixError::Broken(format!(
                "it answered {}",
                answer.status()
            )));
        }
        Ok(AnswerLines {
            body: answer.into_body(),
            rest: Vec::new(),
            _driver: driver,
        })
    }
}

fn send_file(stream: &UnixStream, token: &str, file: BorrowedFd<'_>) -> std::io::Result<()> {
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let sent = sendmsg(
        stream,
        &[IoSlice::new(token.as_bytes())],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent < token.len() {
        return Err(Error::from(ErrorKind::WriteZero));
    }
    Ok(())
}

/// Ends the connection's task, and so the connection, with the last one who is interested.
#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The lines of an answer.
#[derive(Debug)]
pub struct AnswerLines {
    body: Incoming,
    rest: Vec<u8>,
    _driver: Driver,
}

impl AnswerLines {
    /// The next line without its end; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, UnixError> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.rest[seen..].iter().position(|b| *b == b'\n') {
                let tail = self.rest.split_off(seen + end + 1);
                let mut line = std::mem::replace(&mut self.rest, tail);
                line.pop();
                return Ok(Some(line));
            }
            seen = self.rest.len();
            match self.body.frame().await {
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(UnixError::Broken("the answer was cut short".to_owned())),
                Some(Err(error)) => return Err(UnixError::Broken(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
