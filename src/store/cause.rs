//! What a change was asked for with, so that the feed's row can say it: the request behind a transaction.
//!
//! Owns the way from who asks to the transaction. The words are the asker's own; the store does not read them.

use super::record::{Decode, Encode};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static CAUSE: Arc<Cause>;
}

/// The request behind changes. Rows of the feed that its transactions write carry its words.
pub struct Cause {
    words: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    told: AtomicBool,
}

impl Cause {
    /// A request that is described in these words, at the time of the change: a few kilobytes at most.
    pub fn new(words: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            words: Box::new(words),
            told: AtomicBool::new(false),
        })
    }

    /// Whether a row of the feed that was committed carries its words.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    pub(super) fn words(&self) -> Vec<u8> {
        (self.words)()
    }

    pub(super) fn set_told(&self) {
        self.told.store(true, Ordering::Release);
    }

    /// The request that the running task works for.
    pub(super) fn current() -> Option<Arc<Self>> {
        CAUSE.try_with(Arc::clone).ok()
    }

    /// Runs some work for this request: the changes that it makes are its own. The work is boxed: it is large, and what wraps it
    /// is moved a few times.
    pub fn of<F: Future>(self: Arc<Self>, work: F) -> TaskLocalFuture<Arc<Self>, Pin<Box<F>>> {
        CAUSE.scope(self, Box::pin(work))
    }
}

/// The same work for the request of the task that calls this, wherever it runs then.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let (cause, work) = (Cause::current(), Box::pin(work));
    async move {
        match cause {
            Some(cause) => CAUSE.scope(cause, work).await,
            None => work.await,
        }
    }
}

/// What a row of the feed says of the request behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub enum FeedCause {
    /// Nothing: the server did it by itself, or an older version wrote the row.
    #[default]
    None,
    /// It is that of the row before: one transaction wrote both.
    Before,
    /// Its words.
    Words(Vec<u8>),
}
