//! A blob from an upstream: at the pace that its operator gives it, and on at the next address where one breaks off.

use super::turns::{Turns, may_pass};
use super::{Peer, PeerAsk, SLOWEST, Way, in_time};
use crate::fetch::error::FetchError;
use crate::fetch::{Download, FetchSpan};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// So often a body that broke is taken up again without [`PROGRESS`] between.
const AGAIN: u32 = 3;
/// So many bytes are progress: whoever sends one at a time is not asked a million times.
const PROGRESS: u64 = 65_536;
/// Where the bandwidth is limited, pieces are handed out no larger, so that no download has more of it than the others.
const PORTION: usize = 65_536;
/// Before the first of them but one; doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// A body that brings less than this in the time that one may stall is broken off: it would never end.
const LEAST: u64 = 4096;

/// A blob under way. Dropping it ends the transfer.
pub struct PeerDownload {
    peer: Peer,
    ask: PeerAsk,
    span: FetchSpan,
    /// What came and is not handed out yet.
    rest: Bytes,
    /// The address, and what comes from it; `None` after it broke.
    under_way: Option<(usize, Download)>,
    offset: u64,
    made: bool,
    coding: Option<String>,
    /// How often it broke without progress between, and what came since.
    broken: u32,
    since: u64,
    /// What was waited for pieces lately, and what they brought.
    waited: (Duration, u64),
}

impl Peer {
    /// Begins to download this span of a blob: the first answer is waited for. What the ask accepts means nothing here.
    pub async fn download(
        &self,
        ask: &PeerAsk,
        span: FetchSpan,
    ) -> Result<PeerDownload, FetchError> {
        ask.check()?;
        let under_way = self.begin(ask, span).await?;
        Ok(PeerDownload {
            peer: self.clone(),
            ask: ask.clone(),
            span,
            rest: Bytes::new(),
            under_way: Some(under_way),
            offset: span.from,
            made: false,
            coding: None,
            broken: 0,
            since: 0,
            waited: (Duration::ZERO, 0),
        })
    }

    async fn begin(&self, ask: &PeerAsk, span: FetchSpan) -> Result<(usize, Download), FetchError> {
        let mut turns = Turns::new(&self.inner.ways);
        loop {
            let turn = turns.next()?;
            let Way {
                number,
                client,
                line,
            } = turn.way;
            let trace = Arc::new(super::hedge::Trace::new(turns.until));
            let client = client.traced(&trace);
            let (target, scope) = (ask.target(&line.url), ask.scope(&line.url));
            let begun = Box::pin(client.download(&target, &scope, span));
            match in_time(SLOWEST, &line.url, begun).await {
                Ok(download) => return Ok((*number, download)),
                Err(error) => turns.failed(&turn, error)?,
            }
        }
    }
}

impl PeerDownload {
    /// Bytes from the body's start that have been handed out or were there before.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the bytes are not simply those of one answer, as [`Download::is_made`] says.
    pub fn is_made(&self) -> bool {
        let now = self.under_way.as_ref();
        self.made || now.is_some_and(|(_, download)| download.is_made())
    }

    /// The coding that the bytes may still have, as [`Download::coding`] says.
    pub fn coding(&self) -> Option<&str> {
        self.coding.as_deref()
    }

    /// The next bytes; `None` at the end. They come as fast as all downloads of this upstream together may.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        while self.rest.is_empty() {
            match self.piece().await {
                Ok(Some(piece)) => self.rest = piece,
                Ok(None) => return Ok(None),
                Err(error) => self.again(error).await?,
            }
        }
        let most = if self.peer.inner.bytes.is_limited() {
            PORTION.min(self.rest.len())
        } else {
            self.rest.len()
        };
        let piece = self.rest.split_to(most);
        self.since += piece.len() as u64;
        if self.since >= PROGRESS {
            self.broken = 0;
        }
        self.offset += piece.len() as u64;
        self.peer.paid(piece.len()).await;
        Ok(Some(piece))
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, FetchError> {
        if self.under_way.is_none() {
            let span = FetchSpan {
                from: self.offset,
                ..self.span
            };
            self.under_way = Some(self.peer.begin(&self.ask, span).await?);
        }
        let Some((n, download)) = &mut self.under_way else {
            return Ok(None);
        };
        let began = Instant::now();
        let piece = download.chunk().await?;
        self.coding = download.coding().map(str::to_owned);
        let Some(way) = self.peer.inner.ways.get(*n) else {
            return Ok(piece);
        };
        let bytes = piece.as_ref().map_or(0, Bytes::len);
        way.line.received(bytes);
        self.waited.0 += began.elapsed();
        self.waited.1 += bytes as u64;
        if self.waited.0 >= self.peer.inner.read_timeout && piece.is_some() {
            let (time, bytes) = std::mem::take(&mut self.waited);
            if bytes < LEAST {
                // Another connection would be no better.
                self.broken = AGAIN;
                return Err(FetchError::Body {
                    url: format!("{}{}", way.line.url, self.ask.shown()),
                    why: format!("only {bytes} bytes came in {} s", time.as_secs()),
                });
            }
        }
        Ok(piece)
    }

    /// Lets it be taken up again, or gives up.
    async fn again(&mut self, error: FetchError) -> Result<(), FetchError> {
        if let Some((_, download)) = self.under_way.take() {
            self.made |= download.is_made();
        }
        self.broken += 1;
        self.since = 0;
        let is_over = matches!(error, FetchError::Away { .. } | FetchError::Wait { .. });
        if self.broken > AGAIN || is_over || !may_pass(&error) {
            return Err(error);
        }
        tracing::debug!(%error, offset = self.offset, "a blob is taken up again");
        if self.broken > 1 {
            sleep(PAUSE * (1 << (self.broken - 2).min(8))).await;
        }
        Ok(())
    }
}
