//! Condemned content files: removed page by page, and then their rows. One that cannot be removed keeps no other.

use super::BATCH_COST;
use crate::blobs::Place;
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::failures::Failures;
use crate::repo::record::CondemnedRecord;
use crate::store::record::Record;
use crate::store::{Get as _, Lane, Need, Table};

/// One pass over the condemned content files.
pub struct Unlinking {
    repos: Repos,
    /// Where the next page starts; `None` at the end.
    from: Option<Vec<u8>>,
    failures: Failures,
}

impl Repos {
    /// Begins to remove all condemned content files; nothing is removed yet.
    pub fn unlink_condemned(&self) -> Unlinking {
        Unlinking {
            repos: self.clone(),
            from: Some(Vec::new()),
            failures: Failures::default(),
        }
    }

    /// Removes about `limit` condemned content files, if there are as many that can be.
    pub(in crate::repo) async fn unlink_some(&self, limit: usize) -> Result<(), RepoError> {
        let (mut pass, mut removed) = (self.unlink_condemned(), 0);
        while pass.has_more() && removed < limit {
            removed += pass.some(limit).await?;
        }
        pass.tell();
        Ok(())
    }
}

impl Unlinking {
    /// Whether there may be more.
    pub fn has_more(&self) -> bool {
        self.from.is_some()
    }

    /// Removes the next `limit` files, folder by folder, and then their rows; answers how many. After an error the pass is
    /// over.
    pub async fn some(&mut self, limit: usize) -> Result<usize, RepoError> {
        let Some(from) = self.from.take() else {
            return Ok(0);
        };
        let rows = self
            .repos
            .hop(move |_, r| Ok(r.scan(Table::Condemned, &from, &[], limit)?))
            .await?;
        let next = rows.last().filter(|_| rows.len() == limit);
        let next = next.map(|(last, _)| [last.as_slice(), &[0]].concat());
        let (mut keys, mut places) = (Vec::new(), Vec::new());
        for (key, value) in rows {
            match CondemnedRecord::from_bytes(&value) {
                Ok(_) => {
                    places.push(Place(String::from_utf8_lossy(&key).into_owned()));
                    keys.push(key);
                }
                Err(error) => self.failures.add(error.into()),
            }
        }
        let blobs = self.repos.0.blobs.clone();
        let removed = self.repos.block(move || Ok(blobs.remove_each(&places)));
        let removed = removed.await?;
        if let Err(error) = removed.result {
            self.failures.add(error.into());
        }
        let gone = keys.into_iter().zip(removed.gone);
        let gone = gone.filter_map(|(key, gone)| gone.then_some(key)).collect();
        let done = self.drop_rows(gone).await?;
        self.from = next;
        Ok(done)
    }

    /// Drops the rows of files that are gone, in transactions of bounded size; answers how many.
    async fn drop_rows(&self, mut keys: Vec<Vec<u8>>) -> Result<usize, RepoError> {
        let done = keys.len();
        while !keys.is_empty() {
            let rest = keys.split_off(keys.len().min(BATCH_COST));
            let page = std::mem::replace(&mut keys, rest);
            let store = &self.repos.0.store;
            let write = store.write(Lane::Background, Need::Keeps, "gc.condemned", move |tx| {
                page.iter()
                    .try_for_each(|key| tx.delete(Table::Condemned, key))
            });
            write.await?;
        }
        Ok(done)
    }

    /// Ends the pass: what is left is told of in the log, and its rows stay for the next pass.
    pub fn tell(self) {
        self.failures.tell(
            "some content files that nothing needs cannot be removed; each sweep tries again",
        );
    }

    /// Why the first one that is left could not be removed. The rows of those that are left stay, for the next pass.
    pub fn end(self) -> Result<(), RepoError> {
        self.failures.end()
    }
}
