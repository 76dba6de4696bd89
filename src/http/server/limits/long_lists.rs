//! Long lists on their way to clients: what all of them together may hold in memory until the clients have them.
//!
//! Who makes a list says first how long it may become and waits for leave to hold so much; what it does not need it gives
//! back when it is made, the rest once the connection has taken it piece by piece. A list of at most [`SHORT`] bytes needs
//! no leave, so that nothing that is usual ever waits for those who take nothing.

use crate::http::answer::Fail;
use crate::http::request::Req;
use crate::http::server::limits::{ClientPlace, Places};
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use http_body::{Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
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
/// How long a client may take for a list; then the list is dropped. Nobody can keep the room from others.
const SWIFT: Duration = Duration::from_mins(2);
/// What a connection gets at a time, which it may keep without leave.
const PIECE: usize = 16 << 10;

/// What lists of one kind may hold, in KiB.
pub struct Lists {
    clients: Places,
    all: Arc<Semaphore>,
    makers: Arc<Semaphore>,
}

/// Leave to make one list and hold it until it has been sent; by default none, for a short one.
#[derive(Default)]
pub struct ListLeave(Option<Held>);

struct Held {
    own: ClientPlace,
    all: OwnedSemaphorePermit,
    makers: Arc<Semaphore>,
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
    pub async fn leave(&self, req: &Req, most: usize) -> Result<ListLeave, Fail> {
        let (client, kib) = (req.client(), kib(most));
        let words = (
            "KiB of long lists",
            "take them, or ask again when they are sent",
        );
        let own = self.clients.take_many(kib, &client, PATIENCE, words);
        let own = own.await?;
        let all = timeout(PATIENCE, Arc::clone(&self.all).acquire_many_owned(kib)).await;
        if let Ok(Ok(all)) = all {
            return Ok(ListLeave(Some(Held {
                own,
                all,
                makers: Arc::clone(&self.makers),
            })));
        }
        let text = "long lists are on their way to many clients; try again shortly, or ask for shorter pages";
        let fail = Fail::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text);
        Err(fail.with(RETRY_AFTER, "10"))
    }
}

impl ListLeave {
    /// Makes the list and what else is to be known of it, in a turn, as that takes several times its length. Once begun it
    /// goes on to its end also when the client goes away meanwhile: what it takes counts until then.
    pub async fn make<T: Send + 'static>(
        self,
        making: impl Future<Output = Result<(String, T), Fail>> + Send + 'static,
    ) -> Result<(Body, T), Fail> {
        // Who makes a list waits for no client, so the turn comes.
        let turn = match &self.0 {
            Some(held) => Arc::clone(&held.makers).acquire_owned().await.ok(),
            None => None,
        };
        let made = tokio::spawn(async move {
            let (list, more) = making.await?;
            drop(turn);
            Ok((self.body(list), more))
        });
        made.await.map_err(|e| Fail::internal(e.to_string()))?
    }

    /// The list as a body, which keeps of the leave what the list needs.
    pub fn body(self, mut list: String) -> Body {
        let Some(mut held) = self.0.filter(|_| list.len() > SHORT) else {
            return Body::from(list);
        };
        list.shrink_to_fit();
        let needed = kib(list.len()) as usize;
        let rest = held.all.num_permits().saturating_sub(needed);
        drop((held.own.split(rest), held.all.split(rest)));
        Body::new(Taken::begin(list, (held.own, held.all), SWIFT))
    }
}

/// What a list may hold until it has been taken.
type Room = (ClientPlace, OwnedSemaphorePermit);

/// A long list as a body. The connection gets copies of its pieces, so that the list can go while they wait.
struct Taken {
    list: Arc<Mutex<Option<(String, Room)>>>,
    at: usize,
    len: usize,
    /// Drops the list when the client has had its time.
    _swift: AbortOnDropHandle<()>,
}

impl Taken {
    fn begin(list: String, room: Room, time: Duration) -> Self {
        let len = list.len();
        let list = Arc::new(Mutex::new(Some((list, room))));
        let late = Arc::downgrade(&list);
        let swift = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(list) = late.upgrade() {
                list.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        });
        Self {
            list,
            at: 0,
            len,
            _swift: AbortOnDropHandle::new(swift),
        }
    }
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.at == self.len {
            return Poll::Ready(None);
        }
        let end = self.len.min(self.at + PIECE);
        let piece = match &*self.list.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((list, _)) => Bytes::copy_from_slice(&list.as_bytes()[self.at..end]),
            None => return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into()))),
        };
        self.at = end;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.len
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.len - self.at) as u64)
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn room() -> (Arc<Semaphore>, Room) {
        let all = Arc::new(Semaphore::new(2));
        let one = || Arc::clone(&all).acquire_owned();
        let room = (one().await.expect("open"), one().await.expect("open"));
        (all, room)
    }

    #[tokio::test]
    async fn a_list_comes_whole_and_gives_its_room_back() {
        let (all, room) = room().await;
        let list = "list".repeat(PIECE) + "!";
        let body = Taken::begin(list.clone(), room, SWIFT);
        let got = body.collect().await.expect("taken").to_bytes();
        assert!(got == list);
        assert_eq!(all.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_list_that_is_not_taken_in_time_is_dropped() {
        let (all, room) = room().await;
        let mut body = Taken::begin("list".repeat(PIECE), room, Duration::from_millis(20));
        let first = body.frame().await.expect("a piece").expect("in time");
        let both = tokio::time::timeout(Duration::from_secs(10), all.acquire_many(2));
        assert!(both.await.is_ok(), "the room is free while a piece waits");
        assert_eq!(first.data_ref().map(Bytes::len), Some(PIECE));
        let late = body.frame().await.expect("an end").expect_err("too late");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
