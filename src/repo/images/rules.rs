//! What the end of a tag or manifest means beside its own rows.

use super::parts;
use crate::repo::edit::Edit;
use crate::repo::quota;
use crate::repo::reclaim::{drop_ref, let_go};
use crate::repo::rows;
use crate::repo::rows::keys;
use crate::repo::rows::record::ReferrerRecord;
use crate::repo::rules::{Closed, Dropped, Reopened, Rules};
use crate::store::record::Record;
use crate::store::{Get as _, StoreError, Table, Txn};
use crate::types::{Digest, Rev};

/// Of tags: the manifest that one meant is kept for a lease, for those who rely on having seen it.
pub(in crate::repo) struct Tags;

impl Rules for Tags {
    fn closed(&self, edit: &mut Edit<'_, '_>, closed: &Closed<'_>) -> Result<(), StoreError> {
        let Some(target) = closed.item.digest() else {
            return Ok(());
        };
        if !closed.leaves_past {
            edit.unreference(&closed.name, &target, closed.added)?;
        }
        edit.hold(&target)
    }

    fn reopened(&self, _: &mut Txn<'_>, _: &Reopened<'_>) -> Result<(), StoreError> {
        // The lease that its manifest got runs out, and changes nothing.
        Ok(())
    }

    fn dropped(&self, tx: &mut Txn<'_>, dropped: &Dropped<'_>) -> Result<(), StoreError> {
        let Some(target) = dropped.item.digest() else {
            return Ok(());
        };
        drop_ref(tx, dropped.id, &target, &dropped.own_ref(&target))?;
        let_go(tx, dropped.id, &target, dropped.lease_ms)
    }
}

/// Of manifests: what refers to one and what it names is looked at by the collector.
pub(in crate::repo) struct Manifests;

impl Rules for Manifests {
    fn closed(&self, edit: &mut Edit<'_, '_>, closed: &Closed<'_>) -> Result<(), StoreError> {
        let Some(digest) = &closed.name.as_manifest() else {
            return Ok(());
        };
        if !closed.leaves_past {
            edit.hide(digest, closed.item)?;
        }
        quota::lose(edit.tx, edit.id, digest, closed.item.size)?;
        parts::forget(edit.tx, edit.id, digest)?;
        edit.leave_referrers(digest)?;
        edit.leave_blobs(digest)?;
        edit.close_referrer(digest, closed.added, closed.item)
    }

    fn reopened(&self, tx: &mut Txn<'_>, reopened: &Reopened<'_>) -> Result<(), StoreError> {
        let Reopened { id, item, .. } = *reopened;
        let Some(digest) = &reopened.name.as_manifest() else {
            return Ok(());
        };
        quota::regain(tx, id, digest, item.size)?;
        rows::hold(tx, id, digest, reopened.lease_ms, reopened.keep_ms)?;
        let Ok(subject) = Digest::from_key(&item.own) else {
            return Ok(());
        };
        // How it came was forgotten: from here on it stands for itself, so it stays at least as long.
        let now = tx.running_ms().to_be_bytes();
        tx.put(Table::Mentions, &keys::part(digest, id), &now)?;
        let (kind, added) = (&item.artifact_type, reopened.added);
        let past = keys::referrer(id, true, &subject, kind, digest, added);
        if let Some(row) = tx.get(Table::Referrers, &past)? {
            let mut row = ReferrerRecord::from_bytes(&row)?;
            row.removed = Rev::NEVER.0;
            tx.delete(Table::Referrers, &past)?;
            let live = keys::referrer(id, false, &subject, kind, digest, added);
            tx.put(Table::Referrers, &live, &row.to_bytes()?)?;
        }
        Ok(())
    }

    fn dropped(&self, tx: &mut Txn<'_>, dropped: &Dropped<'_>) -> Result<(), StoreError> {
        let Some(digest) = &dropped.name.as_manifest() else {
            return Ok(());
        };
        let Dropped { id, past, item, .. } = *dropped;
        let own = dropped.own_ref(digest);
        if past {
            drop_ref(tx, id, digest, &own)?;
        } else {
            // Only a deleted repository loses rows that are live.
            tx.delete(Table::Refs, &own)?;
            parts::forget(tx, id, digest)?;
            quota::lose(tx, id, digest, item.size)?;
        }
        if let Ok(subject) = Digest::from_key(&item.own) {
            let kind = &item.artifact_type;
            let row = keys::referrer(id, past, &subject, kind, digest, dropped.added);
            tx.delete(Table::Referrers, &row)?;
        }
        let_go(tx, id, digest, dropped.lease_ms)
    }
}
