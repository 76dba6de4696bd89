//! Large documents: few at a time are in memory, from their first byte until they are stored.
//!
//! A manifest of a few KiB, which is nearly every one, is none. Others wait for a turn, one of each client, and then
//! must come swiftly: nobody can keep the turns from others.

use crate::http::answer::Fail;
use crate::http::request::{Incoming, Req};
use crate::http::server::limits::{Client, ClientPlace, Places};
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// A document of at most this many bytes needs no turn.
const SMALL: u64 = 64 << 10;
/// Turns at once.
const TURNS: usize = 2;
/// How long a document waits for its turn.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long it may take to come once it has one.
const SWIFT: Duration = Duration::from_mins(1);

/// The turns.
pub struct Documents {
    clients: Places,
    all: Arc<Semaphore>,
}

/// A document's turn, until dropped; none for a small one.
pub struct DocumentTurn(
    #[expect(dead_code, reason = "given back when dropped")] Option<(ClientPlace, ClientPlace)>,
);

impl Documents {
    /// With all turns free.
    pub fn new() -> Self {
        Self {
            clients: Places::new(1),
            all: Arc::new(Semaphore::new(TURNS)),
        }
    }

    async fn turn(&self, client: &Client) -> Result<(ClientPlace, ClientPlace), Fail> {
        let words = ("large document", "try again when it is done");
        let own = self.clients.take(client, PATIENCE, words).await?;
        let turn = timeout(PATIENCE, Arc::clone(&self.all).acquire_owned()).await;
        if let Ok(Ok(turn)) = turn {
            return Ok((own, turn));
        }
        let text = "the server is busy with large documents of others; try again shortly";
        let fail = Fail::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text);
        Err(fail.with(RETRY_AFTER, "10"))
    }
}

impl Req {
    /// The whole body, if it is at most `max` bytes (`None` if it is longer), and the turn that it needs as long as it
    /// is worked on.
    pub async fn document(
        &self,
        body: &mut Incoming,
        max: u64,
    ) -> Result<Option<(Bytes, DocumentTurn)>, Fail> {
        if self.length().is_some_and(|len| len > max) {
            return Ok(None);
        }
        if self.length().is_some_and(|len| len <= SMALL) {
            let bytes = body.collect(max).await?;
            return Ok(bytes.map(|bytes| (bytes, DocumentTurn(None))));
        }
        let turn = self.state.documents.turn(&self.client()).await?;
        if let Ok(bytes) = timeout(SWIFT, body.collect(max)).await {
            return Ok(bytes?.map(|bytes| (bytes, DocumentTurn(Some(turn)))));
        }
        let text = format!("the document did not come within {} s", SWIFT.as_secs());
        let status = StatusCode::REQUEST_TIMEOUT;
        Err(Fail::new(status, "SIZE_INVALID", text))
    }
}
