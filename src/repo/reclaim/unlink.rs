//! Condemned content files: removed page by page, and then their rows. One that cannot be removed keeps no other.

use super::BATCH_COST;
use crate::blobs::Place;
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::failures::Failures;
use crate::repo::rows::record::{BlobRecord, CondemnedRecord};
use crate::store::record::Record;
use crate::store::{Get as _, Lane, Need, Read, Table};

/// Some condemned rows.
struct Page {
    /// Those whose files may go.
    keys: Vec<Vec<u8>>,
    /// Where the next page starts; `None` at the end.
    next: Option<Vec<u8>>,
    /// Why the files of the others stay.
    failed: Vec<RepoError>,
}

impl Page {
    fn read(r: &Read<'_>, from: &[u8], limit: usize) -> Result<Self, RepoError> {
        let rows = r.scan(Table::Condemned, from, &[], limit)?;
        let next = rows.last().filter(|_| rows.len() == limit);
        let next = next.map(|(last, _)| [last.as_slice(), &[0]].concat());
        let (mut keys, mut failed) = (Vec::new(), Vec::new());
        let blob = |key: &[u8]| Some(place(key).digest().ok()?.as_key().to_vec());
        let blobs: Vec<_> = rows.iter().filter_map(|(key, _)| blob(key)).collect();
        let mut blobs = r.get_many(Table::Blobs, &blobs)?.into_iter();
        for (key, value) in rows {
            let place = place(&key);
            let blob = place.digest().ok().and_then(|_| blobs.next().flatten());
            match may_go(&place, &value, blob.as_deref()) {
                Ok(()) => keys.push(key),
                Err(error) => failed.push(error),
            }
        }
        Ok(Self { keys, next, failed })
    }
}

fn place(key: &[u8]) -> Place {
    Place(String::from_utf8_lossy(key).into_owned())
}

/// Refuses a condemned row that cannot be read, and one whose file the row of its blob names: those are the check's.
fn may_go(place: &Place, condemned: &[u8], blob: Option<&[u8]>) -> Result<(), RepoError> {
    CondemnedRecord::from_bytes(condemned)?;
    let blob = blob.map(BlobRecord::from_bytes).transpose()?;
    if blob.is_some_and(|blob| blob.place.as_deref() == Some(place.0.as_str())) {
        let why = format!("{place} is condemned, but its blob needs it; a check mends that");
        return Err(RepoError::Refused(why));
    }
    Ok(())
}

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
        let removing = self.repos.removing().await;
        let Page { keys, next, failed } = self
            .repos
            .hop(move |_, r| Page::read(r, &from, limit))
            .await?;
        for error in failed {
            self.failures.add(error);
        }
        let places: Vec<_> = keys.iter().map(|key| place(key)).collect();
        let blobs = self.repos.0.blobs.clone();
        let removed = self.repos.block(move || {
            // Also if nobody waits for this any more.
            let _until_gone = removing;
            Ok(blobs.content.remove_each(&places))
        });
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
