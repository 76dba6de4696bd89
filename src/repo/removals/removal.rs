//! Content files that go while others are given a row: whoever removes files by what the rows say holds off those who
//! write a row for a file that is there, from the look at the rows until the files are gone.

use crate::blobs::Place;
use crate::repo::Repos;
use crate::repo::reclaim::is_named;
use std::sync::Arc;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Removals share it; who gives a file a row has it alone.
pub(in crate::repo) type Removals = Arc<RwLock<()>>;

impl Repos {
    /// To be held from the look at the rows until the files that they leave to nobody are gone.
    pub(in crate::repo) async fn removing(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.0.removals).read_owned().await
    }

    /// While it is held, no content file goes for what the rows say.
    pub async fn without_removals(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.0.removals).write_owned().await
    }

    /// Removes content files that a commit did not need, but for those that a check has given to their blobs meanwhile.
    pub(in crate::repo) async fn drop_spare(&self, spare: Vec<Place>) {
        if spare.is_empty() {
            return;
        }
        let removing = self.removing().await;
        let blobs = self.0.blobs.clone();
        let removed = self.hop(move |_, r| {
            let mut unused = Vec::with_capacity(spare.len());
            for place in &spare {
                if !is_named(r, &place.digest()?, place)? {
                    unused.push(place.clone());
                }
            }
            Ok(unused)
        });
        let removed = match removed.await {
            Ok(unused) => {
                let remove = move || {
                    // Also if nobody waits for this any more.
                    let _until_gone = removing;
                    Ok(blobs.content.remove(&unused)?)
                };
                self.block(remove).await
            }
            Err(error) => Err(error),
        };
        if let Err(e) = removed {
            tracing::warn!(error = %e, "a spare content file was left behind; a check finds it");
        }
    }
}
