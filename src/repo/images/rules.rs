//! What the end of a tag or manifest means beside its own rows.

use super::parts;
use crate::repo::edit::Edit;
use crate::repo::quota;
use crate::repo::reclaim::{drop_ref, let_go};
use crate::repo::rows::keys;
use crate::repo::rules::{Closed, Dropped, Rules};
use crate::store::{StoreError, Table, Txn};
use crate::types::Digest;

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
        quota::lose(edit.tx, edit.id, digest, closed.item.size)?;
        parts::forget(edit.tx, edit.id, digest)?;
        edit.leave_referrers(digest)?;
        edit.leave_blobs(digest)?;
        edit.close_referrer(digest, closed.added, closed.item)
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
