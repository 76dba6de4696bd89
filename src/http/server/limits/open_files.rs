//! Files that requests may have open: one for each connection is set aside, further ones are shared by all.
//!
//! A connection of HTTP/2 has many requests at once, and each may hold a content file for as long as its client takes. With
//! one set aside, whoever gets a connection can be served, whatever others hold; for more they share what is left, and few
//! may wait for it.

use crate::http::answer::Fail;
use crate::http::server::connections::Use;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More than any machine lets one program open.
const MOST: usize = 1 << 20;

/// Requests that wait at once, of all connections: each holds some 5 KiB.
const WAITING: usize = 2048;

/// The files beyond one for each connection.
pub struct OpenFiles {
    shared: Arc<Semaphore>,
    waiting: Semaphore,
}

/// Leave to have a file open, until dropped.
pub enum FileLeave {
    /// The one of the connection.
    Own(Arc<Use>),
    /// One of those that are shared.
    Shared {
        /// Its place among them.
        _permit: OwnedSemaphorePermit,
    },
}

impl Drop for FileLeave {
    fn drop(&mut self) {
        if let Self::Own(used) = self {
            used.give_back_file();
        }
    }
}

impl OpenFiles {
    /// So many are shared.
    pub fn new(shared: usize) -> Self {
        Self {
            shared: Arc::new(Semaphore::new(shared.min(MOST))),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// Leave for a request, after a wait no longer than `patience`; without one where too many wait.
    pub async fn leave(&self, used: &Arc<Use>, patience: Duration) -> Result<FileLeave, Fail> {
        if used.take_file() {
            return Ok(FileLeave::Own(Arc::clone(used)));
        }
        if let Ok(permit) = Arc::clone(&self.shared).try_acquire_owned() {
            return Ok(FileLeave::Shared { _permit: permit });
        }
        if let Ok(_waits) = self.waiting.try_acquire() {
            let shared = Arc::clone(&self.shared).acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(patience, shared).await {
                return Ok(FileLeave::Shared { _permit: permit });
            }
        }
        let text = "all files that connections may share are in use, and this connection has its own in use, too; take the \
                    answers that are on their way first, or open another connection";
        let fail = Fail::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text);
        Err(fail.with(RETRY_AFTER, "5"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::server::connections::Connections;

    #[tokio::test]
    async fn one_for_each_connection_and_a_few_for_all() {
        let (all, files) = (Connections::new(9), OpenFiles::new(1));
        let here = std::net::IpAddr::from([192, 0, 2, 1]);
        let entries: Vec<_> = (0..2).filter_map(|_| all.enter(here, 9)).collect();
        let begin = |n: usize| Arc::new(Use::begin(&entries[n].link));
        let soon = Duration::from_millis(1);
        let (first, second) = (begin(0), begin(0));
        let own = files.leave(&first, soon).await.ok();
        let shared = files.leave(&second, soon).await.ok();
        assert!(
            matches!(own, Some(FileLeave::Own(_)))
                && matches!(shared, Some(FileLeave::Shared { .. }))
        );
        let refused = files
            .leave(&begin(0), soon)
            .await
            .err()
            .map(|f| f.status.as_u16());
        assert_eq!(refused, Some(429));
        // Another connection has its own, and what is given back is there again.
        assert!(files.leave(&begin(1), soon).await.is_ok());
        drop(own);
        assert!(files.leave(&begin(0), soon).await.is_ok());
        drop(shared);
        let both = (
            files.leave(&begin(0), soon).await,
            files.leave(&begin(0), soon).await,
        );
        assert!(both.0.is_ok() && both.1.is_ok());
    }
}
