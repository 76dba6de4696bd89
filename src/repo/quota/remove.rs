//! The end of a quota: its row goes first, then what it counted, page by page. Where that was cut short it goes on with the
//! next sweep, and a new quota of the same prefix begins with it.

use super::{quota, shown};
use crate::repo::bounded::left;
use crate::repo::error::RepoError;
use crate::repo::{Inner, Repos};
use crate::store::key::{Key, Parts};
use crate::store::{Get, Lane, Need, Read, StoreError, Table, Txn};
use crate::types::{Remedy, wall_ms};

/// Rows of one removed quota that one transaction drops.
const ROWS: usize = 800;

impl Repos {
    /// Ends a quota.
    pub async fn remove_quota(&self, prefix: &str) -> Result<(), RepoError> {
        let (wanted, at_ms) = (prefix.to_owned(), wall_ms());
        let write = self.write(Need::Keeps, "quota.remove", move |tx| {
            if quota(tx, &wanted)?.is_none() {
                return Err(RepoError::Mendable(
                    format!("there is no quota on {}", shown(&wanted)),
                    Remedy::ListQuotas,
                ));
            }
            tx.delete(Table::Quotas, &super::key(&wanted))?;
            Ok(super::tell(tx, &wanted, at_ms, "quota.remove")?)
        });
        write.await?;
        self.finish_removal(prefix).await
    }

    /// Drops what a removed quota counted.
    async fn finish_removal(&self, prefix: &str) -> Result<(), RepoError> {
        loop {
            let wanted = prefix.to_owned();
            let write = self
                .0
                .store
                .write(Lane::Background, Need::Keeps, "quota.end", move |tx| {
                    // One that was set anew meanwhile drops what it finds before it counts; the rest is its own.
                    let is_new = quota(tx, &wanted)?.is_some();
                    Ok::<_, RepoError>(is_new || drop_counts(tx, &wanted)? < ROWS)
                });
            if write.await? {
                return Ok(());
            }
        }
    }

    /// Goes on with removals that a restart or a full disk cut short.
    pub(super) async fn finish_removals(&self) -> Result<(), RepoError> {
        let mut from = Vec::new();
        loop {
            let found = self.hops(from, |_: &Inner, r, from| next_removed(r, from));
            let Next::Prefix(prefix) = found.await? else {
                return Ok(());
            };
            self.finish_removal(&prefix).await?;
            from = Key::new().text(&prefix).range().1;
        }
    }
}

/// What comes next of the prefixes of which there are counts and no quota.
enum Next {
    Prefix(String),
    End,
}

/// Looks on from a place for one hop; `None`: not there yet.
fn next_removed(r: &Read<'_>, from: &mut Vec<u8>) -> Result<Option<Next>, RepoError> {
    while left(r) > 0 {
        let Some((key, _)) = r.scan(Table::QuotaHolders, from, &[], 1)?.pop() else {
            return Ok(Some(Next::End));
        };
        let Some(prefix) = Parts(&key).text() else {
            // `check` tells of it.
            *from = [key.as_slice(), &[0]].concat();
            continue;
        };
        if quota(r, prefix)?.is_none() {
            return Ok(Some(Next::Prefix(prefix.to_owned())));
        }
        // One seek a quota, however much it counts.
        *from = Key::new().text(prefix).range().1;
    }
    Ok(None)
}

/// Drops a page of what a quota counted; answers how many rows.
pub(super) fn drop_counts(tx: &mut Txn<'_>, prefix: &str) -> Result<usize, StoreError> {
    let (from, to) = Key::new().text(prefix).range();
    let rows = tx.scan(Table::QuotaHolders, &from, &to, ROWS)?;
    for (key, _) in &rows {
        tx.delete(Table::QuotaHolders, key)?;
    }
    Ok(rows.len())
}
