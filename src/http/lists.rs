//! Long lists on their way to clients: what all of them together may hold in memory until the clients have them.
//!
//! Who makes a list says first how long it may become and waits for leave to hold so much; what it does not need it gives
//! back when it is made, the rest once the connection has sent it. A list of at most [`SHORT`] bytes needs no leave, so
//! that nothing that is usual ever waits for those who take nothing.

use super::body::Content;
use super::error::Fail;
use super::pieces::{Piece, pieces};
use super::places::{Place, Places};
use super::request::Req;
use crate::types::Span;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A list of at most so many bytes needs no leave.
pub const SHORT: usize = 36 << 10;
/// KiB of the lists of one client at least; there is always room for two of the longest.
const OF_ONE: usize = 16 << 10;
/// So many times what one client may have is what all may.
const CLIENTS: usize = 3;
/// Lists that are made at the same time: meanwhile one may take three times its length, and it is soon done.
const MAKERS: usize = 2;
/// How long a list waits for leave.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection may copy what it is given: it gets so much at a time.
const PIECE: usize = 64 << 10;

/// What lists may hold, in KiB.
pub struct Lists {
    clients: Places,
    all: Arc<Semaphore>,
    makers: Arc<Semaphore>,
}

/// Leave to make one list and hold it until it has been sent; by default none, for a short one.
#[derive(Default)]
pub struct Leave(Option<Held>);

struct Held {
    own: Place,
    all: OwnedSemaphorePermit,
    maker: OwnedSemaphorePermit,
}

impl Lists {
    /// Room for lists of which the longest has `longest` bytes.
    pub fn new(longest: usize) -> Self {
        let most = OF_ONE.max(2 * longest.div_ceil(1024));
        Self {
            clients: Places::new(most),
            all: Arc::new(Semaphore::new(CLIENTS * most)),
            makers: Arc::new(Semaphore::new(MAKERS)),
        }
    }
}

impl Req {
    /// Leave to make a list of at most `most` bytes, once it is known that it is not short.
    pub async fn list(&self, most: usize) -> Result<Leave, Fail> {
        let lists = &self.state.lists;
        let (client, kib) = (self.client(), kib(most));
        let words = (
            "KiB of long lists",
            "take them, or ask again when they are sent",
        );
        let own = lists.clients.take_many(kib, &client, PATIENCE, words);
        let own = own.await?;
        // Who makes a list waits for no client: this never lasts.
        let makers = Arc::clone(&lists.makers);
        let all = timeout(PATIENCE, Arc::clone(&lists.all).acquire_many_owned(kib)).await;
        if let Ok(Ok(all)) = all
            && let Ok(maker) = makers.acquire_owned().await
        {
            return Ok(Leave(Some(Held { own, all, maker })));
        }
        let text = "long lists are on their way to many clients; try again shortly, or ask for shorter pages";
        let fail = Fail::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text);
        Err(fail.with(RETRY_AFTER, "10"))
    }
}

impl Leave {
    /// Makes the list and what else is to be known of it, to its end also when the client goes away meanwhile: what it
    /// takes counts until then.
    pub async fn make<T: Send + 'static>(
        self,
        making: impl Future<Output = Result<(String, T), Fail>> + Send + 'static,
    ) -> Result<(Body, T), Fail> {
        let made = tokio::spawn(async move {
            let (list, more) = making.await?;
            Ok((self.body(list), more))
        });
        made.await.map_err(|e| Fail::internal(e.to_string()))?
    }

    /// The list as a body, which keeps of the leave what the list needs.
    pub fn body(self, list: String) -> Body {
        let Some(mut held) = self.0.filter(|_| list.len() > SHORT) else {
            return Body::from(list);
        };
        let rest = held
            .all
            .num_permits()
            .saturating_sub(kib(list.len()) as usize);
        drop((held.own.split(rest), held.all.split(rest), held.maker));
        let sent = Sent {
            list: list.into_boxed_str(),
            _until_sent: (held.own, held.all),
        };
        let len = sent.list.len();
        let spans = (0..len).step_by(PIECE).map(|start| {
            Piece::Span(Span {
                start: start as u64,
                len: PIECE.min(len - start) as u64,
            })
        });
        let spans = spans.collect();
        pieces(Content::Bytes(Bytes::from_owner(sent)), spans)
    }
}

/// A list and what it has leave to hold.
struct Sent {
    list: Box<str>,
    _until_sent: (Place, OwnedSemaphorePermit),
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        self.list.as_bytes()
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
