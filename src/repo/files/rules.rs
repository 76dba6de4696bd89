//! What a file means beside its item's rows: how many live files of a repository have one content, which counts once for the
//! repository and for quotas.

use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::quota;
use crate::repo::reclaim::{drop_ref, let_go};
use crate::repo::rows::keys;
use crate::repo::rows::record::UsageRecord;
use crate::repo::rows::{number, usage};
use crate::repo::rules::{Closed, Dropped, Reopened, Rules};
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, RepoId};

/// Of files.
pub(in crate::repo) struct Paths;

impl Rules for Paths {
    fn closed(&self, edit: &mut Edit<'_, '_>, closed: &Closed<'_>) -> Result<(), StoreError> {
        let Some(target) = closed.item.digest() else {
            return Ok(());
        };
        if !closed.leaves_past {
            edit.unreference(&closed.name, &target, closed.added)?;
        }
        went(edit.tx, edit.id, &target, closed.item.size)?;
        if !closed.leaves_past {
            // No history keeps it.
            let_go(edit.tx, edit.id, &target, edit.context.lease_ms)?;
        }
        Ok(())
    }

    fn reopened(&self, tx: &mut Txn<'_>, reopened: &Reopened<'_>) -> Result<(), StoreError> {
        let Reopened { id, item, .. } = *reopened;
        let Some(target) = item.digest() else {
            return Ok(());
        };
        let before = live_files(tx, id, &target)?;
        let row = (before + 1).to_be_bytes();
        tx.put(Table::Mentions, &keys::files(&target, id), &row)?;
        if before == 0 {
            quota::regain(tx, id, &target, item.size)?;
            count(tx, id, |usage| usage.bytes += item.size)?;
        }
        Ok(())
    }

    fn dropped(&self, tx: &mut Txn<'_>, dropped: &Dropped<'_>) -> Result<(), StoreError> {
        let Some(target) = dropped.item.digest() else {
            return Ok(());
        };
        let own = dropped.own_ref(&target);
        if dropped.past {
            drop_ref(tx, dropped.id, &target, &own)?;
        } else {
            // Only a deleted repository loses rows that are live.
            tx.delete(Table::Refs, &own)?;
            went(tx, dropped.id, &target, dropped.item.size)?;
        }
        let_go(tx, dropped.id, &target, dropped.lease_ms)
    }
}

/// A live file of this content came; its own reference at `by` is written.
pub(super) fn came(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    size: u64,
    by: &[u8],
) -> Result<(), RepoError> {
    let before = live_files(tx, id, digest)?;
    let row = (before + 1).to_be_bytes();
    tx.put(Table::Mentions, &keys::files(digest, id), &row)?;
    if before == 0 {
        quota::gain(tx, id, digest, size, by)?;
        count(tx, id, |usage| usage.bytes += size)?;
    }
    Ok(())
}

/// A live file of this content went.
fn went(tx: &mut Txn<'_>, id: RepoId, digest: &Digest, size: u64) -> Result<(), StoreError> {
    let key = keys::files(digest, id);
    match live_files(tx, id, digest)? {
        // A row that is lost is told of by a check.
        0 => Ok(()),
        1 => {
            tx.delete(Table::Mentions, &key)?;
            quota::lose(tx, id, digest, size)?;
            count(tx, id, |usage| {
                usage.bytes = usage.bytes.saturating_sub(size);
            })
        }
        more => tx.put(Table::Mentions, &key, &(more - 1).to_be_bytes()),
    }
}

/// How many live files of the repository have this content.
fn live_files(get: &impl Get, id: RepoId, digest: &Digest) -> Result<u64, StoreError> {
    let row = get.get(Table::Mentions, &keys::files(digest, id))?;
    Ok(row.map_or(0, |row| number(&row)))
}

fn count(
    tx: &mut Txn<'_>,
    id: RepoId,
    change: impl FnOnce(&mut UsageRecord),
) -> Result<(), StoreError> {
    let mut usage = usage(tx, id)?;
    change(&mut usage);
    tx.put(Table::Usage, &keys::repo(id), &usage.to_bytes()?)
}
