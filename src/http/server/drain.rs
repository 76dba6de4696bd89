//! A refusal must reach the client, also one that is still sending: answering and closing at once would reset the
//! connection, and the answer would be lost with it.
//!
//! With `Expect: 100-continue` nothing has been sent yet and the answer is enough. Else a little of the body is read
//! here; if more is to come, the connection closes after the answer while a bounded task reads on.

use crate::http::request::Incoming;
use futures_util::StreamExt as _;
use std::time::Duration;

/// Read before the answer, so that a small body leaves the connection in use.
const INLINE_BYTES: u64 = 1 << 20;
/// Time for that.
const INLINE_TIME: Duration = Duration::from_millis(500);
/// Read while the answer is on its way.
const LINGER_BYTES: u64 = 64 << 20;
/// Time for that.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Reads what is left of a refused body. True: the connection must close after the answer.
pub async fn drain(mut body: Incoming, expects_continue: bool) -> bool {
    if body.ended() {
        return false;
    }
    if expects_continue && !body.touched() {
        return true;
    }
    if tokio::time::timeout(INLINE_TIME, skip(&mut body, INLINE_BYTES))
        .await
        .is_ok_and(|ended| ended)
    {
        return false;
    }
    tokio::spawn(async move {
        let _ = tokio::time::timeout(LINGER_TIME, skip(&mut body, LINGER_BYTES)).await;
    });
    true
}

/// Drops up to `limit` bytes; true if the body ended whole.
async fn skip(body: &mut Incoming, limit: u64) -> bool {
    let stop = body.bytes() + limit;
    while body.bytes() < stop {
        match body.next().await {
            None => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
        }
    }
    body.ended()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[tokio::test]
    async fn small_bodies_keep_the_connection() {
        let small = Incoming::new(Body::from("abc"), Duration::from_secs(1));
        assert!(!drain(small, false).await);
        let unsent = Incoming::new(Body::from("abc"), Duration::from_secs(1));
        assert!(drain(unsent, true).await);
    }
}
