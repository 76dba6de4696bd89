//! Answers of several ranges: how many of them are on their way at once, for one client and in all.
//!
//! Each part has its framing and, of a file, a read of its own, so a thousand parts of a byte cost what a large file does.
//! Must not read ranges: that is for `types`, and what is answered for `body`.

use crate::http::PATIENCE;
use crate::http::answer::Fail;
use crate::http::request::Req;
use crate::http::server::limits::{ClientPlace, Places};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Such answers for one client. Clients that ask for ranges fetch about six layers at once.
const OF_ONE: usize = 8;
/// Such answers in all.
const IN_ALL: usize = 32;

/// What answers of several ranges share.
pub struct Ranges {
    clients: Places,
    all: Arc<Semaphore>,
}

/// Leave to answer with several ranges, until dropped; by default none.
#[derive(Default)]
pub struct RangeLeave(
    #[expect(dead_code, reason = "given back when dropped")]
    Option<(Option<ClientPlace>, OwnedSemaphorePermit)>,
);

impl Ranges {
    /// With nothing on its way.
    pub fn new() -> Self {
        Self {
            clients: Places::new(OF_ONE),
            all: Arc::new(Semaphore::new(IN_ALL)),
        }
    }

    /// Leave for one answer, which may be waited for while others of the same client are on their way. `None`: too many of
    /// other clients are, and the whole content is the answer, which RFC 9110 section 14.2 allows at any time. So
    /// nobody who takes an answer slowly keeps others from what they need.
    pub async fn leave(&self, req: &Req) -> Result<Option<RangeLeave>, Fail> {
        let words = ("answers of several ranges", "take them, then ask again");
        let own = match req.counted() {
            Some(client) => Some(self.clients.take(&client, PATIENCE, words).await?),
            None => None,
        };
        let all = Arc::clone(&self.all).try_acquire_owned().ok();
        Ok(all.map(|all| RangeLeave(Some((own, all)))))
    }
}
