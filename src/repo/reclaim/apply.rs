//! The steps of a plan, each inside a background transaction: the truth is looked at again, then rows are dropped.

use super::Tally;
use super::list::end_list;
use super::places::condemn;
use super::release::closed_at;
use super::release::{end_revision, release, suspect, tidy};
use super::step::{Done, Step};
use super::unstage::{is_to_come, unname, unstage};
use crate::repo::bounded::is_spent;
use crate::repo::edit::{Context, Edit};
use crate::repo::error::RepoError;
use crate::repo::images::parts;
use crate::repo::rows::inline;
use crate::repo::rows::keys::{self, Class, DueKind, Name};
use crate::repo::rows::record::{BlobRecord, ItemRecord, ReferrerRecord, RepoRecord};
use crate::repo::rows::{self, number};
use crate::repo::rules::{self, Dropped};
use crate::repo::shown::{is_past_pinned, is_pinned_within};
use crate::repo::snapshots;
use crate::repo::stage;
use crate::store::epochs::Subject;
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, ItemName, RepoId, Rev};

/// Carries out one step, or the first parts of it. Cached answers of the repositories that it touches end with the commit.
pub(super) fn step(
    tx: &mut Txn<'_>,
    step: &Step,
    context: &Context,
    tally: &mut Tally,
) -> Result<Done, RepoError> {
    match step {
        Step::Done { key } => tx.delete(Table::Due, key)?,
        Step::Later { key, at, value } => later(tx, key, *at, value)?,
        Step::Lease { .. } | Step::Orphan { .. } | Step::Untagged { .. } | Step::List { .. } => {
            look(tx, step, context, tally)?;
        }
        Step::Suspect { .. }
        | Step::Release { .. }
        | Step::Unname { .. }
        | Step::Unstage { .. }
        | Step::Lapse { .. }
        | Step::Tidy { .. } => {
            return list(tx, step, context);
        }
        Step::Horizon { id, rev } => move_horizon(tx, *id, *rev)?,
        Step::Row {
            id,
            name,
            past,
            added,
            at_once,
        } => {
            let stays = *past && !at_once && is_past_pinned(tx, *id, &name.as_name(), *added)?;
            if !stays && drop_row(tx, *id, name, *past, *added, context)? {
                tally.history_dropped += 1;
                touch(tx, *id)?;
            }
        }
        Step::Expire { key, id, title } => {
            tx.delete(Table::Due, key)?;
            if let Some(record) = repo(tx, *id)?.filter(|record| !record.deleted)
                && snapshots::expire(tx, (*id, &record), title, context)?
            {
                tx.ends(Subject::Shown(&record.name));
            }
        }
        Step::Erase { table, keys } => keys.iter().try_for_each(|key| tx.delete(*table, key))?,
        Step::EndRepo { key, id } => {
            tx.delete(Table::Due, key)?;
            tx.delete(Table::Usage, &keys::repo(*id))?;
            tx.delete(Table::Repos, &keys::repo(*id))?;
        }
    }
    Ok(Done::All)
}

/// Carries out a step that is a list, or its first parts.
fn list(tx: &mut Txn<'_>, step: &Step, context: &Context) -> Result<Done, RepoError> {
    match step {
        Step::Suspect { id, digests } => each(tx, digests, |tx, digest| {
            // It may have gone since the plan was made: a lease of it would stay for ever.
            if rows::live(tx, *id, &Name::manifest(digest))?.is_some() {
                suspect(tx, *id, digest, context.lease_ms)?;
            }
            Ok(())
        }),
        Step::Release {
            id,
            parent,
            added,
            children,
            at_once,
        } => {
            // A revision that is kept by then shows the manifest with all that it names.
            if !at_once && is_past_pinned(tx, *id, &Name::manifest(parent), *added)? {
                return Ok(Done::All);
            }
            touch(tx, *id)?;
            let lease_ms = if *at_once { 0 } else { context.lease_ms };
            each(tx, children, |tx, child| {
                release(tx, *id, (parent, *added), child, lease_ms)
            })
        }
        Step::Lapse { id, children } => {
            let head = Rev(repo(tx, *id)?.map_or(0, |record| record.head));
            each(tx, children, |tx, child| {
                rows::lapse(tx, *id, child, head, context.lease_ms)
            })
        }
        Step::Tidy { id, rev, names } => {
            let done = each(tx, names, |tx, name| tidy(tx, *id, *rev, name))?;
            if done == Done::All {
                end_revision(tx, *id, *rev)?;
            }
            Ok(done)
        }
        Step::Unname { id, .. } | Step::Unstage { id, .. } => taken_back(tx, (*id, step), context),
        _ => Ok(Done::All),
    }
}

/// Carries out a step that takes back a revision, if that is still to come.
fn taken_back(
    tx: &mut Txn<'_>,
    (id, step): (RepoId, &Step),
    context: &Context,
) -> Result<Done, RepoError> {
    match step {
        Step::Unname {
            parent,
            added,
            children,
            ..
        } if is_to_come(tx, id, *added)? => each(tx, children, |tx, child| {
            unname(tx, id, (parent, *added), child, context.lease_ms)
        }),
        Step::Unstage { rev, names, .. } if is_to_come(tx, id, *rev)? => {
            each(tx, names, |tx, name| unstage(tx, (id, *rev), name, context))
        }
        _ => Ok(Done::All),
    }
}

/// Does the parts of a step one after the other, as many as the transaction may look at the rows of: what one of them
/// costs, quotas on every part of a long name decide.
fn each<T>(
    tx: &mut Txn<'_>,
    parts: &[T],
    mut part: impl FnMut(&mut Txn<'_>, &T) -> Result<(), StoreError>,
) -> Result<Done, RepoError> {
    for (done, one) in parts.iter().enumerate() {
        if done > 0 && is_spent(tx) {
            return Ok(Done::Part(done));
        }
        part(tx, one)?;
    }
    Ok(Done::All)
}

/// Looks again at what a due row names, and ends it if nothing needs it any more.
fn look(
    tx: &mut Txn<'_>,
    step: &Step,
    context: &Context,
    tally: &mut Tally,
) -> Result<(), RepoError> {
    if let Step::Untagged { id, .. } | Step::List { id, .. } = step
        && stage::staged_rev(tx, *id)?.is_some()
    {
        // It began since the plan was made: the due row stays until it has ended.
        return Ok(());
    }
    match step {
        Step::Lease { key, digest, id } => {
            let lapses = tx.get(Table::Due, key)?;
            let lapses = lapses.and_then(|value| rows::lapses_since(&value));
            tx.delete(Table::Due, key)?;
            if let Some((at, _, _)) = keys::due_parts(key)
                && lease_ended(tx, *id, digest, at, lapses)?
            {
                tally.links_dropped += 1;
                touch(tx, *id)?;
            }
        }
        Step::Orphan { key, digest } => {
            tx.delete(Table::Due, key)?;
            if let Some(size) = orphan(tx, digest, context.at_ms)? {
                tally.freed_blobs += 1;
                tally.freed_bytes += size;
            }
        }
        Step::Untagged {
            key,
            id,
            digest,
            since,
        } => {
            tx.delete(Table::Due, key)?;
            if untagged(tx, *id, digest, *since, context)? {
                tally.manifests_removed += 1;
                touch(tx, *id)?;
            }
        }
        Step::List {
            key,
            id,
            subject,
            tag,
            digest,
        } => {
            tx.delete(Table::Due, key)?;
            if let Some(record) = repo(tx, *id)?.filter(|record| !record.deleted)
                && end_list(tx, (*id, record), subject, (tag, digest), context)?
            {
                tally.lists_removed += 1;
                touch(tx, *id)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Revisions before `rev` can be asked for no more: before the first of their rows goes.
fn move_horizon(tx: &mut Txn<'_>, id: RepoId, rev: Rev) -> Result<(), StoreError> {
    match repo(tx, id)? {
        Some(mut record) if record.horizon < rev.0 => {
            record.horizon = rev.0;
            tx.put(Table::Repos, &keys::repo(id), &record.to_bytes()?)
        }
        _ => Ok(()),
    }
}

/// Ends the cached answers of a repository: no row of the feed tells of what the collector drops.
fn touch(tx: &mut Txn<'_>, id: RepoId) -> Result<(), StoreError> {
    if let Some(record) = repo(tx, id)? {
        tx.ends(Subject::Shown(&record.name));
    }
    Ok(())
}

fn repo(get: &impl Get, id: RepoId) -> Result<Option<RepoRecord>, StoreError> {
    let row = get.get(Table::Repos, &keys::repo(id))?;
    row.map(|row| RepoRecord::from_bytes(&row)).transpose()
}

fn later(tx: &mut Txn<'_>, key: &[u8], at: u64, value: &[u8]) -> Result<(), StoreError> {
    tx.delete(Table::Due, key)?;
    match keys::due_parts(key) {
        Some((_, kind, what)) => tx.put(Table::Due, &keys::due(at, kind, what), value),
        None => Ok(()),
    }
}

/// Drops the link whose lease ended at `at`, unless it was renewed or something in the repository keeps the digest; where
/// it lapses, only what is live does, or was after that head.
fn lease_ended(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    at: u64,
    lapses: Option<Rev>,
) -> Result<bool, StoreError> {
    let key = keys::link(digest, id);
    let end = tx.get(Table::Refs, &key)?;
    if end.is_none_or(|end| number(&end) != at) {
        return Ok(false);
    }
    let stays = match lapses {
        Some(head) => rows::was_needed_after(tx, id, digest, head)?,
        None => rows::is_kept(tx, id, digest)?,
    };
    if stays {
        return Ok(false);
    }
    if repo(tx, id)?.is_none() {
        // Its repository is gone with all its figures.
        tx.delete(Table::Refs, &key)?;
        rows::orphan(tx, digest)?;
        return Ok(true);
    }
    if rows::arrive(tx, id, digest)? {
        // More named it before it came than its arrival turned into references: now they hold it.
        return Ok(false);
    }
    let size = rows::size(tx, digest)?;
    rows::unlink(tx, id, digest, size)?;
    Ok(true)
}

/// Drops the blob of a digest that nothing references, and condemns its content file; answers its size.
fn orphan(tx: &mut Txn<'_>, digest: &Digest, at_ms: u64) -> Result<Option<u64>, StoreError> {
    let Some(row) = tx.get(Table::Blobs, digest.as_key())? else {
        return Ok(None);
    };
    if rows::is_referenced(tx, digest)? {
        return Ok(None);
    }
    let row = BlobRecord::from_bytes(&row)?;
    tx.delete(Table::Blobs, digest.as_key())?;
    match &row.place {
        None => inline::delete(tx, digest)?,
        Some(place) => condemn(tx, digest, place, at_ms)?,
    }
    Ok(Some(row.size))
}

/// What needs a manifest beside its own item: a tag or manifest, live or past, or the live manifest it refers to, unless it
/// came as a part of an index.
pub(in crate::repo) fn is_needed(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
    item: &ItemRecord,
) -> Result<bool, StoreError> {
    Ok(rows::is_kept_by_another(get, id, digest, Class::Tag)?
        || parts::is_kept_by_subject(get, id, digest, item)?)
}

/// Ends a manifest that nothing needs and no lease holds; whether it did.
fn untagged(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
    since: u64,
    context: &Context,
) -> Result<bool, RepoError> {
    let Some(record) = repo(tx, id)?.filter(|r| !r.deleted) else {
        return Ok(false);
    };
    let Some((added, item)) = rows::live(tx, id, &Name::manifest(digest))? else {
        return Ok(false);
    };
    // More may have named it before it came than its arrival turned into references.
    if is_needed(tx, id, digest, &item)? || rows::arrive(tx, id, digest)? {
        return Ok(false);
    }
    let held = tx.get(Table::Mentions, &keys::held(digest, id))?;
    if let Some(end) = held.map(|end| number(&end))
        && end > tx.running_ms()
    {
        let what = keys::due_in(id, digest);
        let key = keys::due(end, DueKind::Untagged, &what);
        tx.put(Table::Due, &key, &since.to_be_bytes())?;
        return Ok(false);
    }
    let mut change = Edit::open(tx, id, record, context)?;
    change.delete_manifest(digest)?;
    change.finish()?;
    hide(tx, id, digest, added)?;
    Ok(true)
}

/// Takes a manifest that was just closed out of the past, unless a revision that shows it is kept: from here on no revision
/// shows it, so none that is kept later can, and its rows go without waiting for the history.
fn hide(tx: &mut Txn<'_>, id: RepoId, digest: &Digest, added: Rev) -> Result<(), StoreError> {
    let key = keys::item(id, &Name::manifest(digest), true, added);
    let Some(row) = tx.get(Table::Items, &key)? else {
        return Ok(());
    };
    let mut item = ItemRecord::from_bytes(&row)?;
    if is_pinned_within(tx, id, added, Rev(item.removed))? {
        return Ok(());
    }
    item.removed = added.0;
    tx.put(Table::Items, &key, &item.to_bytes()?)?;
    if let Ok(subject) = Digest::from_key(&item.own) {
        let key = keys::referrer(id, true, &subject, &item.artifact_type, digest, added);
        if let Some(row) = tx.get(Table::Referrers, &key)? {
            let mut row = ReferrerRecord::from_bytes(&row)?;
            row.removed = added.0;
            tx.put(Table::Referrers, &key, &row.to_bytes()?)?;
        }
    }
    let what = [keys::due_in(id, digest), added.0.to_be_bytes().to_vec()].concat();
    let now = tx.running_ms();
    tx.put(Table::Due, &keys::due(now, DueKind::Past, &what), &[])
}

/// Drops an item's row with the rows derived from it, but for what its children need (they were let go before).
pub(super) fn drop_row(
    tx: &mut Txn<'_>,
    id: RepoId,
    name: &ItemName,
    past: bool,
    added: Rev,
    context: &Context,
) -> Result<bool, StoreError> {
    let key = keys::item(id, &name.as_name(), past, added);
    let Some(row) = tx.get(Table::Items, &key)? else {
        return Ok(false);
    };
    let item = ItemRecord::from_bytes(&row)?;
    tx.delete(Table::Items, &key)?;
    let name = name.as_name();
    let dropped = Dropped {
        id,
        name,
        added,
        past,
        item: &item,
        lease_ms: context.lease_ms,
    };
    rules::of(name.class()).dropped(tx, &dropped)?;
    // The change that added it says nothing any more, unless the same revision closed the row before it.
    if !closed_at(tx, id, &name, added)? {
        tx.delete(Table::Changes, &keys::change(id, added, &name))?;
        end_revision(tx, id, added)?;
    }
    Ok(true)
}
