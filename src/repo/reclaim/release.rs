//! What a row that goes leaves behind: the references it held, the leases that follow, and the changes that told of it.
//! Each function is one part of a step ([`super::apply`]) and looks at a few rows, and at two for each quota that holds the
//! repository.

use crate::repo::quota;
use crate::repo::rows;
use crate::repo::rows::keys::{self, Class, DueKind, Name};
use crate::repo::rows::record::ItemRecord;
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, ItemName, RepoId, Rev};

/// Lets go one child of a manifest (its digest and the revision that added it).
pub(super) fn release(
    tx: &mut Txn<'_>,
    id: RepoId,
    (parent, added): (&Digest, Rev),
    child: &Digest,
    lease_ms: u64,
) -> Result<(), StoreError> {
    let key = |class| keys::manifest_ref(child, id, class, parent, added);
    tx.delete(Table::Mentions, &key(Class::Wanted))?;
    drop_ref(tx, id, child, &key(Class::Manifest))?;
    rows::kept_by_next(tx, id, child)?;
    let_go(tx, id, child, lease_ms)
}

/// Drops a reference that keeps the digest and does not show it; that it was there counts once.
pub(in crate::repo) fn drop_ref(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    key: &[u8],
) -> Result<(), StoreError> {
    if tx.get(Table::Refs, key)?.is_some() {
        tx.delete(Table::Refs, key)?;
        quota::let_go(tx, id, digest)?;
    }
    Ok(())
}

/// Asks for a look at a manifest that something let go, after a new lease: while it was needed a HEAD renewed nothing,
/// and its client relies on the answer. Its history is over.
pub(super) fn suspect(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    lease_ms: u64,
) -> Result<(), StoreError> {
    let end = tx.running_ms() + lease_ms;
    if lease_ms > 0 {
        tx.put(Table::Mentions, &keys::held(digest, id), &end.to_be_bytes())?;
    }
    let key = keys::due(end, DueKind::Untagged, &keys::due_in(id, digest));
    tx.put(Table::Due, &key, &0_u64.to_be_bytes())
}

/// After a reference went: a manifest is looked at, a link without another reference gets a new lease, and a digest
/// that the repository does not even show is looked at as a whole.
pub(in crate::repo) fn let_go(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    lease_ms: u64,
) -> Result<(), StoreError> {
    if rows::is_kept(tx, id, digest)? {
        if rows::live(tx, id, &Name::manifest(digest))?.is_some() {
            suspect(tx, id, digest, lease_ms)?;
        }
        return Ok(());
    }
    if tx.get(Table::Refs, &keys::link(digest, id))?.is_some() {
        rows::lease(tx, id, digest, lease_ms)?;
        return Ok(());
    }
    rows::orphan(tx, digest)
}

/// Whether a past row of the name was closed by this revision.
pub(super) fn closed_at(
    get: &impl Get,
    id: RepoId,
    name: &Name<'_>,
    rev: Rev,
) -> Result<bool, StoreError> {
    let from = keys::item(id, name, true, Rev(rev.0.saturating_sub(1)));
    let (_, to) = keys::item_rows(id, name, true).range();
    let before = get.scan(Table::Items, &from, &to, 1)?.pop();
    let before = before
        .map(|(_, row)| ItemRecord::from_bytes(&row))
        .transpose()?;
    Ok(before.is_some_and(|item| item.removed == rev.0))
}

/// Drops the change row of one name at a revision, unless an item row needs it.
pub(super) fn tidy(
    tx: &mut Txn<'_>,
    id: RepoId,
    rev: Rev,
    name: &ItemName,
) -> Result<(), StoreError> {
    let name = name.as_name();
    let mut needed = closed_at(tx, id, &name, rev)?;
    for past in [false, true] {
        needed |= tx
            .get(Table::Items, &keys::item(id, &name, past, rev))?
            .is_some();
    }
    if !needed {
        tx.delete(Table::Changes, &keys::change(id, rev, &name))?;
    }
    Ok(())
}

/// Drops a revision's head row after the last of its names.
pub(super) fn end_revision(tx: &mut Txn<'_>, id: RepoId, rev: Rev) -> Result<(), StoreError> {
    let (from, to) = keys::change_names(id, rev);
    if tx.scan(Table::Changes, &from, &to, 1)?.is_empty() {
        tx.delete(Table::Changes, &keys::change_head(id, rev))?;
    }
    Ok(())
}
