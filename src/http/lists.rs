//! Long lists on their way to clients: what all of them together may hold in memory until the clients have them.
//!
//! Who makes a list says first how long it may become and waits for leave to hold so much; what it does not need it gives
//! back when it is made, the rest once the connection has sent it. A list of at most [`SHORT`] bytes needs no leave, so
//! that nothing that is usual ever waits for those who take nothing.

use super::body::Content;
use super::connections::Use;
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
use tokio_util::task::AbortOnDropHandle;

/// A list of at most so many bytes needs no leave.
pub const SHORT: usize = 36 << 10;
/// So many times what one client may have is what all may.
const CLIENTS: usize = 3;
/// Lists of several times their length in the making at once.
const MAKERS: usize = 2;
/// How long a list waits for leave.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take for a list: nobody can keep the room from others.
const SWIFT: Duration = Duration::from_mins(2);
/// A connection may copy what it is given: it gets so much at a time.
const PIECE: usize = 64 << 10;

/// What lists of one kind may hold, in KiB.
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
    makers: Arc<Semaphore>,
    used: Option<Arc<Use>>,
}

impl Lists {
    /// Lists that may take so many bytes for one client.
    pub fn new(of_one: usize) -> Self {
        let most = kib(of_one) as usize;
        Self {
            clients: Places::new(most),
            all: Arc::new(Semaphore::new(CLIENTS * most)),
            makers: Arc::new(Semaphore::new(MAKERS)),
        }
    }

    /// Leave to make a list of at most `most` bytes, which must not be more than one client may have.
    pub async fn leave(&self, req: &Req, most: usize) -> Result<Leave, Fail> {
        let (client, kib) = (req.client(), kib(most));
        let words = (
            "KiB of long lists",
            "take them, or ask again when they are sent",
        );
        let own = self.clients.take_many(kib, &client, PATIENCE, words);
        let own = own.await?;
        let all = timeout(PATIENCE, Arc::clone(&self.all).acquire_many_owned(kib)).await;
        if let Ok(Ok(all)) = all {
            return Ok(Leave(Some(Held {
                own,
                all,
                makers: Arc::clone(&self.makers),
                used: req.used.clone(),
            })));
        }
        let text = "long lists are on their way to many clients; try again shortly, or ask for shorter pages";
        let fail = Fail::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text);
        Err(fail.with(RETRY_AFTER, "10"))
    }
}

impl Leave {
    /// Makes the list and what else is to be known of it, in a turn, as that takes several times its length. It goes on to
    /// its end also when the client goes away meanwhile: what it takes counts until then.
    pub async fn make<T: Send + 'static>(
        self,
        making: impl Future<Output = Result<(String, T), Fail>> + Send + 'static,
    ) -> Result<(Body, T), Fail> {
        let made = tokio::spawn(async move {
            // Who makes a list waits for no client, so the turn comes.
            let turn = match &self.0 {
                Some(held) => Arc::clone(&held.makers).acquire_owned().await.ok(),
                None => None,
            };
            let (list, more) = making.await?;
            drop(turn);
            Ok((self.body(list), more))
        });
        made.await.map_err(|e| Fail::internal(e.to_string()))?
    }

    /// The list as a body, which keeps of the leave what the list needs.
    pub fn body(self, list: String) -> Body {
        let Some(mut held) = self.0.filter(|_| list.len() > SHORT) else {
            return Body::from(list);
        };
        let needed = kib(list.len()) as usize;
        let rest = held.all.num_permits().saturating_sub(needed);
        drop((held.own.split(rest), held.all.split(rest)));
        let sent = Sent {
            list: list.into_boxed_str(),
            _leave: (held.own, held.all),
            _swift: held.used.map(|used| used.end_after(SWIFT)),
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
    _leave: (Place, OwnedSemaphorePermit),
    /// Ends the connection unless the list is dropped before.
    _swift: Option<AbortOnDropHandle<()>>,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        self.list.as_bytes()
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
