//! What takes back a revision that a stage wrote and nobody saw: the plan of a page of its changes, and what its steps do.

use super::apply::drop_row;
use super::plan::{StepPlan, is_unread};
use super::release::{end_revision, release};
use super::step::Step;
use crate::repo::Repos;
use crate::repo::edit::Context;
use crate::repo::error::RepoError;
use crate::repo::images::parts;
use crate::repo::rows::keys::{self, Name};
use crate::repo::rows::record::ItemRecord;
use crate::repo::rows::{live, usage};
use crate::repo::rules::{self, Reopened};
use crate::repo::stage::{self, StageId};
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, ItemName, RepoId, Rev};

/// Changes that one look takes back.
const NAMES: usize = 100;
/// Children of a manifest that one step lets go.
const CHILDREN: usize = 100;

impl Repos {
    /// Takes back some of what a stage has written into a repository; `false`: there is nothing left.
    pub(in crate::repo) async fn unstage(
        &self,
        id: RepoId,
        stage: StageId,
    ) -> Result<bool, RepoError> {
        let planned = self.hop(move |inner, r| {
            let mut plan = StepPlan::new(inner, r, false);
            let record = plan.record(id)?;
            let Some(record) = record.filter(|record| record.stage == Some(stage.0)) else {
                return Ok(None);
            };
            let rev = Rev(record.head + 1);
            let (from, to) = keys::change_names(id, rev);
            let rows = r.scan(Table::Changes, &from, &to, NAMES)?;
            let mut names = Vec::with_capacity(rows.len());
            for (change, _) in &rows {
                if let Some(name) = keys::name_of_change(change) {
                    plan.unname((id, rev), &name)?;
                    names.push(name.to_owned());
                }
                if plan.is_full() {
                    break;
                }
            }
            let is_over = names.is_empty();
            if !is_over {
                plan.push(Step::Unstage { id, rev, names })?;
            }
            Ok((!is_over).then(|| plan.finish().0))
        });
        match planned.await? {
            Some(steps) => self.carry_out_all(steps).await.map(|_| true),
            None => Ok(false),
        }
    }
}

impl StepPlan<'_, '_> {
    /// The steps that let go what a manifest names that this revision added.
    fn unname(&mut self, (id, rev): (RepoId, Rev), name: &Name<'_>) -> Result<(), RepoError> {
        let Some(parent) = name.as_manifest() else {
            return Ok(());
        };
        // One that was closed again before the flip lies in the past.
        let mut row = None;
        for past in [false, true] {
            let key = keys::item(id, name, past, rev);
            row = row.or(self.read.get(Table::Items, &key)?);
        }
        let Some(row) = row else {
            return Ok(());
        };
        let item = ItemRecord::from_bytes(&row)?;
        self.bytes += item.size;
        let named = match self.children(&parent, &item.media_type) {
            // Else a file that the disk does not give would hold its repository for ever.
            Err(error) if is_unread(&error) => {
                tracing::warn!(digest = %parent, %error, "a manifest that is taken back cannot be read: what it named is found by `dryport check --repair`");
                Vec::new()
            }
            named => named?,
        };
        for children in named.chunks(CHILDREN) {
            let children = children.to_vec();
            self.push(Step::Unname {
                id,
                parent,
                added: rev,
                children,
            })?;
        }
        Ok(())
    }
}

/// Whether a stage holds the repository still and makes this revision.
pub(super) fn is_to_come(get: &impl Get, id: RepoId, rev: Rev) -> Result<bool, StoreError> {
    Ok(stage::staged_rev(get, id)? == Some(rev))
}

/// Lets go what a manifest named that is being taken back. What it made a part of itself stands for itself again, whatever
/// it was before: so it stays at least as long.
pub(super) fn unname(
    tx: &mut Txn<'_>,
    id: RepoId,
    parent: (&Digest, Rev),
    child: &Digest,
    lease_ms: u64,
) -> Result<(), StoreError> {
    release(tx, id, parent, child, lease_ms)?;
    let key = keys::part(child, id);
    let is_part = tx
        .get(Table::Mentions, &key)?
        .is_some_and(|value| parts::is_part(&value));
    let stays =
        is_part && live(tx, id, &Name::manifest(child))?.is_some_and(|(added, _)| added < parent.1);
    if stays {
        let now = tx.running_ms().to_be_bytes();
        tx.put(Table::Mentions, &key, &now)?;
    }
    Ok(())
}

/// Takes back what a revision made of a name.
pub(super) fn unstage(
    tx: &mut Txn<'_>,
    (id, rev): (RepoId, Rev),
    name: &ItemName,
    context: &Context,
) -> Result<(), StoreError> {
    let as_name = name.as_name();
    let added = tx.get(Table::Items, &keys::item(id, &as_name, false, rev))?;
    if let Some(row) = added {
        let size = ItemRecord::from_bytes(&row)?.size;
        let mut usage = usage(tx, id)?;
        usage.take(as_name.class(), size);
        tx.put(Table::Usage, &keys::repo(id), &usage.to_bytes()?)?;
        drop_row(tx, id, name, false, rev, context)?;
    }
    drop_row(tx, id, name, true, rev, context)?;
    reopen(tx, (id, rev), &as_name, context)?;
    tx.delete(Table::Changes, &keys::change(id, rev, &as_name))?;
    end_revision(tx, id, rev)
}

/// Makes live again what a revision closed under a name.
fn reopen(
    tx: &mut Txn<'_>,
    (id, rev): (RepoId, Rev),
    name: &Name<'_>,
    context: &Context,
) -> Result<(), StoreError> {
    let from = keys::item(id, name, true, Rev(rev.0.saturating_sub(1)));
    let (_, to) = keys::item_rows(id, name, true).range();
    let Some((key, row)) = tx.scan(Table::Items, &from, &to, 1)?.pop() else {
        return Ok(());
    };
    let mut item = ItemRecord::from_bytes(&row)?;
    let Some(added) = keys::added_of_item(&key).filter(|_| item.removed == rev.0) else {
        return Ok(());
    };
    tx.delete(Table::Items, &key)?;
    item.removed = Rev::NEVER.0;
    let live = keys::item(id, name, false, added);
    tx.put(Table::Items, &live, &item.to_bytes()?)?;
    let mut usage = usage(tx, id)?;
    usage.add(name.class(), item.size);
    tx.put(Table::Usage, &keys::repo(id), &usage.to_bytes()?)?;
    let keep_ms = stage::keep_ms(tx, id, context)?;
    let reopened = Reopened {
        id,
        name: *name,
        added,
        item: &item,
        lease_ms: context.lease_ms,
        keep_ms,
    };
    rules::of(name.class()).reopened(tx, &reopened)
}
