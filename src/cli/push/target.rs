//! What takes the files: a data directory of this machine, or another server.

use super::super::exit::Failure;
use super::super::hints;
use super::super::session::CommandSession;
use super::sources::FileToSend;
use crate::app::ops::{FaultKind, FilePush, FileShow, Pushed};
use crate::fetch::FetchClient;
use crate::types::Digest;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Who takes files.
pub(super) enum Target {
    /// The running server of this machine's data directory, or this process.
    Here(CommandSession),
    /// Another server.
    There(FetchClient),
}

impl Target {
    /// The file that is there, if it has the same bytes. The source is read only where its length is that of what is there.
    pub async fn same(&self, source: &FileToSend) -> Result<Option<Pushed>, Failure> {
        let found = match self {
            Self::Here(session) => {
                let target = source.target.clone();
                session.quick(FileShow { target }).await?.file
            }
            Self::There(client) => on_server(client, &source.target).await?,
        };
        let Some(found) = found.filter(|found| found.size == source.len) else {
            return Ok(None);
        };
        let Ok(digest) = found.digest.parse::<Digest>() else {
            return Ok(None);
        };
        let own = source.digest(digest.algorithm()).await?;
        Ok((own == digest).then_some(found))
    }

    /// Sends a file; it is durable when this returns.
    pub async fn send(&self, source: FileToSend) -> Result<Pushed, Failure> {
        let (name, len) = (source.target.clone(), source.len);
        match self {
            Self::Here(session) => {
                let file = session.hand_over(source.file()).await?;
                let target = name;
                session.quick(FilePush { target, file, len }).await
            }
            Self::There(client) => {
                let encoded = utf8_percent_encode(&name, ENCODED);
                let path = format!("/r/{encoded}");
                let reply = client.put(&path, len, source.stream()?).await;
                let reply = reply.map_err(|e| Failure::reaching(&e, hints::PUSH))?;
                if !matches!(reply.status, 200 | 201) {
                    let text = String::from_utf8_lossy(&reply.body);
                    return Err(refused(&name, reply.status, text.trim()));
                }
                Ok(Pushed {
                    digest: tag(&reply).to_owned(),
                    name,
                    size: len,
                    is_new: reply.status == 201,
                })
            }
        }
    }

    /// Gives back what it holds of this machine.
    pub async fn close(self) {
        if let Self::Here(session) = self {
            session.close().await;
        }
    }
}

fn refused(name: &str, status: u16, text: &str) -> Failure {
    let kind = match status {
        400 => FaultKind::Usage,
        401 | 403 | 409 | 412 => FaultKind::State,
        404 => FaultKind::NotFound,
        _ => FaultKind::Failed,
    };
    Failure::new(kind, format!("{name}: {status} {text}"))
}

/// What another server has there. Any other answer than a file is none: sending it tells why.
async fn on_server(client: &FetchClient, name: &str) -> Result<Option<Pushed>, Failure> {
    let path = format!("/r/{}", utf8_percent_encode(name, ENCODED));
    let reply = client.about(&path).await;
    let reply = reply.map_err(|e| Failure::reaching(&e, hints::PUSH))?;
    let size = reply.length().filter(|_| reply.status == 200);
    Ok(size.map(|size| Pushed {
        name: name.to_owned(),
        digest: tag(&reply).to_owned(),
        size,
        is_new: false,
    }))
}

/// The digest that the tag of a file is.
fn tag(reply: &crate::fetch::SmallAnswer) -> &str {
    reply.header("etag").unwrap_or_default().trim_matches('"')
}
