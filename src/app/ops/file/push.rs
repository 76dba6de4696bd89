//! `file-push`.

use super::tree;
use crate::app::ops::{Ctx, Fault, FaultKind, Operation, Spec, Verb};
use crate::auth::Action;
use crate::blobs::can_adopt;
use crate::repo::{At, Filed, NewFile, RepoError, Repos, When};
use crate::types::{FilePath, RepoName};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Seek as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Takes a file into a repository of files.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilePush {
    /// Repository and path.
    pub target: String,
    /// The token under which the open file was handed over.
    pub file: String,
    /// Its length in bytes.
    pub len: u64,
}

/// So many bytes of a reader; one that ends before that is an error, and what it has beyond is not read.
fn exactly(
    read: impl AsyncRead + Send + 'static,
    len: u64,
) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
    let seen = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&seen);
    let pieces = ReaderStream::with_capacity(read.take(len), PIECE);
    let pieces = pieces.inspect_ok(move |piece| {
        counts.fetch_add(piece.len() as u64, Relaxed);
    });
    let end = stream::once(async move {
        let seen = seen.load(Relaxed);
        (seen < len).then(|| {
            let text = format!("the file has {seen} bytes now, and had {len}");
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
        })
    });
    Box::pin(pieces.chain(end.filter_map(future::ready)))
}

/// Takes so many bytes of what was handed over: a file as it is, anything else as far as it can be read.
async fn taken(
    repos: &Repos,
    name: &RepoName,
    new: NewFile,
    (mut source, len): (File, u64),
) -> Result<Filed, RepoError> {
    if can_adopt(&source, len) {
        return repos.take_file(name, new, source, len).await;
    }
    // Whoever handed it over may have read it; a pipe has no beginning to go to.
    let _ = source.rewind();
    let body = exactly(tokio::fs::File::from_std(source), len);
    repos.put_file(name, new, Some(len), body).await
}

/// A file that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pushed {
    /// Repository and path.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// Nothing was there before.
    pub is_new: bool,
}

impl Operation for FilePush {
    type Reply = Pushed;

    const SPEC: Spec = Spec::new("file-push", Verb::Make, "/file", Action::ServerAdmin)
        .about("Takes a file into a repository of files")
        .control_only();

    /// A file that gets shorter meanwhile leaves nothing.
    async fn run(self, ctx: &Ctx) -> Result<Pushed, Fault> {
        let file = File::from(ctx.take_file(&self.file)?);
        let target = &self.target;
        let tree = tree(&ctx.app, target)?;
        if tree.at != At::Head {
            let text = format!("{target} means the past, which nobody can change");
            return Err(Fault::new(FaultKind::State, text));
        }
        let path = tree.path.parse::<FilePath>();
        let new = NewFile {
            path: path.map_err(|e| Fault::usage(format!("{target}: {e}")))?,
            when: When::Always,
            digest: None,
            who: ctx.who().to_owned(),
            owner: ctx.who().to_owned(),
        };
        let filed = tokio::select! {
            filed = taken(&ctx.app.repos, &tree.name, new, (file, self.len)) => filed,
            () = ctx.stop.cancelled() => return Err(Fault::failed("stopped")),
        };
        let filed = filed.map_err(|error: RepoError| {
            let mut fault = Fault::from(error);
            fault.message = format!("{target}: {fault}");
            fault
        })?;
        Ok(Pushed {
            name: self.target,
            digest: filed.digest.to_string(),
            size: filed.size,
            is_new: filed.is_new,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_got_shorter_is_an_error_and_a_longer_one_is_cut() {
        let of = |bytes: &'static [u8], len| exactly(bytes, len).try_collect::<Vec<_>>();
        assert_eq!(of(b"abcd", 3).await.expect("three").concat(), b"abc");
        assert_eq!(of(b"abc", 3).await.expect("three").concat(), b"abc");
        assert!(of(b"", 0).await.expect("none").is_empty());
        let short = of(b"ab", 3).await.map_err(|e| e.kind());
        assert_eq!(short, Err(io::ErrorKind::UnexpectedEof));
    }
}
