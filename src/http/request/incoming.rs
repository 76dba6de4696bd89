//! The body of a request as a stream.
//!
//! Owns how slowly it may come, and that it ends when the right to send it does. Must not know what it holds.

use crate::auth::{AuthError, Lost, Standing};
use crate::http::answer::Fail;
use axum::body::{Body, Bytes};
use futures_util::Stream;
use http_body::Body as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes that must come in each stretch of waiting as long as the progress timeout: about 70 a second.
const LEAST: usize = 4096;

/// The body of a request as a stream of its data, with a progress timeout and a count of its bytes.
pub struct Incoming {
    body: Body,
    progress: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when nothing has come although it was asked for.
    waiting: Option<Instant>,
    /// How long was waited for the last [`LEAST`] bytes, and how many of them have come. What the server itself takes
    /// its time for is not in it.
    waited: Duration,
    since: usize,
    bytes: u64,
    touched: bool,
    ended: bool,
    watch: Watch,
}

/// Whether who sends a body may still send it.
#[derive(Default)]
struct Watch {
    standing: Option<Standing>,
    /// What came before that is asked for again; `None` is the body's end.
    held: Option<Result<Bytes, IncomingError>>,
    asking: Option<Asking>,
    lost: Option<Lost>,
}

type Asked = (Standing, Result<Option<Lost>, AuthError>);
type Asking = Pin<Box<dyn Future<Output = Asked> + Send>>;

/// Why a body stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// Nothing, or next to nothing, came for the progress time.
    #[error("no data, or hardly any, came in {0} s")]
    Stalled(u64),
    /// The connection broke or the framing is wrong.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Who sends it may not any more.
    #[error("the right to send this ended while it was sent")]
    Lost,
    /// Whether it may be sent cannot be told.
    #[error(transparent)]
    Auth(AuthError),
}

impl Incoming {
    /// Wraps a body; `progress` is the longest pause between two pieces.
    pub fn new(body: Body, progress: Duration) -> Self {
        let ended = body.is_end_stream();
        Self {
            body,
            progress,
            timer: None,
            waiting: None,
            waited: Duration::ZERO,
            since: 0,
            bytes: 0,
            touched: false,
            ended,
            watch: Watch::default(),
        }
    }

    /// From now on the body ends where `standing` does not hold any more.
    pub fn hold_to(&mut self, standing: Standing) {
        self.watch.standing = Some(standing);
    }

    /// Why it was ended.
    pub fn lost(&self) -> Option<Lost> {
        self.watch.lost
    }

    /// Bytes that have come so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether anybody has asked for data (which sends a pending `100 Continue`).
    pub fn touched(&self) -> bool {
        self.touched
    }

    /// Whether nothing is left to read.
    pub fn ended(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    /// All of it, if it is at most `max` bytes; `None` if it is longer.
    pub async fn collect(&mut self, max: u64) -> Result<Option<Bytes>, Fail> {
        use futures_util::StreamExt as _;
        let mut all = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece.map_err(|e| Fail::bad("SIZE_INVALID", e.to_string()))?;
            if (all.len() + piece.len()) as u64 > max {
                return Ok(None);
            }
            if all.is_empty() && self.ended() {
                return Ok(Some(piece));
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all.into()))
    }

    fn came(&mut self, len: usize) {
        self.bytes += len as u64;
        self.since += len;
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        if self.since >= LEAST {
            (self.since, self.waited) = (0, Duration::ZERO);
        }
    }

    /// Nothing came: starts the clock at the first empty-handed poll and fails once it has run out.
    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, IncomingError>>> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep(self.progress)));
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            let left = self.progress.saturating_sub(self.waited);
            timer.as_mut().reset(now + left);
        }
        if timer.as_mut().poll(cx).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(IncomingError::Stalled(self.progress.as_secs()))));
        }
        Poll::Pending
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, IncomingError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(asking) = &mut this.watch.asking {
                let (standing, answer) = ready!(asking.as_mut().poll(cx));
                this.watch.asking = None;
                let held = this.watch.held.take();
                return Poll::Ready(match answer {
                    Ok(None) => {
                        this.watch.standing = Some(standing);
                        held
                    }
                    Ok(lost) => {
                        this.watch.lost = lost;
                        Some(Err(IncomingError::Lost))
                    }
                    Err(error) => Some(Err(IncomingError::Auth(error))),
                });
            }
            let next = ready!(this.poll_data(cx));
            // Also the end of a body: what follows on it is a commit.
            match this.watch.standing.take_if(|s| !s.is_current()) {
                Some(mut standing) if !matches!(next, Some(Err(_))) => {
                    this.watch.held = next;
                    this.watch.asking = Some(Box::pin(async move {
                        let answer = standing.ask().await;
                        (standing, answer)
                    }));
                }
                _ => return Poll::Ready(next),
            }
        }
    }
}

impl Incoming {
    /// What comes next, whoever sends it.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, IncomingError>>> {
        let this = self;
        this.touched = true;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Pending => return this.stalled(cx),
                Poll::Ready(None) => this.ended = true,
                Poll::Ready(Some(Err(error))) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(IncomingError::Broken(error.to_string()))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers carry nothing that is used here.
                    if let Ok(data) = frame.into_data() {
                        this.came(data.len());
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drops_of_a_body_are_no_progress() {
        use futures_util::{StreamExt as _, stream};
        let body = stream::repeat(b"1").take(1000).then(|data| async move {
            sleep(Duration::from_millis(40)).await;
            Ok::<_, std::io::Error>(data.as_slice())
        });
        let mut drops = Incoming::new(Body::from_stream(body), Duration::from_millis(100));
        let mut last = None;
        while let Some(piece) = drops.next().await {
            last = Some(piece);
        }
        assert!(drops.bytes() < 100);
        assert!(matches!(last, Some(Err(IncomingError::Stalled(_)))));
        drops.waited = Duration::from_millis(99);
        drops.came(LEAST);
        assert_eq!((drops.waited, drops.since), (Duration::ZERO, 0));
    }

    #[tokio::test]
    async fn collects_up_to_a_limit() {
        let incoming = |text: &'static str| Incoming::new(Body::from(text), Duration::from_secs(1));
        assert_eq!(
            incoming("abc").collect(3).await.expect("whole").as_deref(),
            Some(&b"abc"[..])
        );
        assert!(
            incoming("abcd")
                .collect(3)
                .await
                .expect("too long")
                .is_none()
        );
    }
}
