//! The bytes of one blob, from an upstream's answer into the file that its readers follow.

use crate::blobs::Buffer;
use crate::fetch::peer::PeerDownload;
use crate::repo::{Fill, RepoError, Repos};
use crate::types::{Digest, RepoName};
use crate::upstream::Upstream;
use bytes::{Buf as _, Bytes};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes gathered before a write, once there are many.
const PIECE: usize = 1 << 20;
/// So soon after the last one the bytes that came are written, however few: readers wait for them.
const SOON: Duration = Duration::from_millis(5);

/// A download under way.
pub(super) struct Filling {
    pub repos: Repos,
    pub upstream: Arc<Upstream>,
    pub name: RepoName,
    pub digest: Digest,
}

/// How the bytes of a piece ended.
enum Ended {
    /// There are more.
    No,
    /// All came.
    Whole,
    /// The upstream failed.
    Broken(String),
}

impl Filling {
    /// Downloads to the end, checks the digest and shows the blob. What came of one that breaks off is kept: the next who
    /// asks goes on from there.
    pub async fn run(self, fill: Fill, download: PeerDownload) {
        let (fill, result) = self.copy(fill, download).await;
        let done = match result {
            Ok(()) => match fill {
                Some(fill) => self
                    .repos
                    .finish_fill(&self.name, fill)
                    .await
                    .map_err(|e| e.to_string()),
                None => Err("the writing of it ended unexpectedly".to_owned()),
            },
            Err(why) => {
                if let Some(fill) = fill {
                    pause(&self.repos, &self.name, fill).await;
                }
                Err(why)
            }
        };
        if let Err(why) = done {
            self.upstream.tally.error();
            let upstream = &self.upstream.settings.name;
            tracing::warn!(%upstream, repo = %self.name, blob = %self.digest, %why, "a blob did not come whole");
        }
    }

    async fn copy(
        &self,
        mut fill: Fill,
        mut download: PeerDownload,
    ) -> (Option<Fill>, Result<(), String>) {
        let mut rest = Bytes::new();
        loop {
            let (piece, ended) = gather(&mut download, &mut rest).await;
            if !piece.is_empty() {
                self.upstream.tally.bytes(piece.len() as u64);
                let wrote = tokio::task::spawn_blocking(move || {
                    let result = fill.write(&piece).and_then(|()| fill.flush());
                    (fill, result)
                });
                match wrote.await {
                    Ok((back, Ok(()))) => fill = back,
                    Ok((back, Err(error))) => return (Some(back), Err(error.to_string())),
                    Err(error) => return (None, Err(error.to_string())),
                }
            }
            match ended {
                Ended::No => {}
                Ended::Whole => return (Some(fill), Ok(())),
                Ended::Broken(why) => return (Some(fill), Err(why)),
            }
        }
    }
}

/// The next bytes: as many as come soon, [`PIECE`] at most.
async fn gather(download: &mut PeerDownload, rest: &mut Bytes) -> (Buffer, Ended) {
    let mut piece = Buffer::with_capacity(PIECE);
    let mut begun: Option<Instant> = None;
    loop {
        rest.advance(piece.fill(rest));
        if piece.len() == PIECE {
            return (piece, Ended::No);
        }
        let next = match begun {
            None => download.chunk().await,
            Some(at) => {
                let left = SOON.saturating_sub(at.elapsed());
                match tokio::time::timeout(left, download.chunk()).await {
                    Ok(next) => next,
                    Err(_) => return (piece, Ended::No),
                }
            }
        };
        match next {
            Ok(Some(bytes)) => *rest = bytes,
            Ok(None) => return (piece, Ended::Whole),
            Err(error) => return (piece, Ended::Broken(error.to_string())),
        }
        begun.get_or_insert_with(Instant::now);
    }
}

/// Keeps what came, for the next who asks.
pub(super) async fn pause(repos: &Repos, name: &RepoName, fill: Fill) {
    if let Err(error) = repos.pause_fill(name, fill).await
        && !matches!(error, RepoError::NameUnknown(_))
    {
        tracing::warn!(repo = %name, %error, "a half-fetched blob could not be kept");
    }
}
