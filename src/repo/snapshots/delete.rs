//! The end of snapshots: by hand, by time, with their repository; and the hold that forbids it.

use crate::repo::Repos;
use crate::repo::any_visible;
use crate::repo::edit::Context;
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, DueKind};
use crate::repo::rows::record::{RepoRecord, SnapshotRecord};
use crate::store::record::Record;
use crate::store::{Get, Need, StoreError, Table, Txn};
use crate::types::{Remedy, RepoId, RepoName, Rev, Title, wall_ms};

/// Rows of one look.
const PAGE: usize = 500;
/// Titles that an error names.
const NAMED: usize = 3;

impl Repos {
    /// Deletes a snapshot; what only it kept is dropped by the collector.
    ///
    /// # Errors
    /// [`RepoError::Refused`] for one that is held.
    pub async fn delete_snapshot(
        &self,
        name: &RepoName,
        title: &Title,
        who: &str,
    ) -> Result<(), RepoError> {
        tracing::info!(target: "audit", action = "snapshot.delete", repo = %name, %title, who);
        let (wanted, title) = (name.clone(), title.clone());
        let (by, at_ms) = (who.to_owned(), wall_ms());
        let delete = move |tx: &mut Txn<'_>| {
            let (id, snapshot) = find(tx, &wanted, &title)?;
            if snapshot.held {
                return Err(RepoError::Refused(format!(
                    "the snapshot {title} of {wanted} is held and cannot be deleted; nothing was changed, release it first"
                )));
            }
            let of = (wanted.as_str(), title.as_str(), Rev(snapshot.rev));
            super::tell(tx, id, of, (&by, "snapshot.delete", at_ms))?;
            Ok(remove(tx, id, title.as_str(), &snapshot)?)
        };
        self.unless_staged(Need::Removes, "snapshot.delete", delete)
            .await
    }

    /// Holds a snapshot, so that nobody deletes it, or takes that back. One whose time is over ends when it is released.
    pub async fn hold_snapshot(
        &self,
        name: &RepoName,
        title: &Title,
        held: bool,
        who: &str,
    ) -> Result<(), RepoError> {
        let action = if held {
            "snapshot.hold"
        } else {
            "snapshot.release"
        };
        tracing::info!(target: "audit", action, repo = %name, %title, who);
        let (wanted, title) = (name.clone(), title.clone());
        let (by, at_ms) = (who.to_owned(), wall_ms());
        let mark = move |tx: &mut Txn<'_>| {
            let (id, mut snapshot) = find(tx, &wanted, &title)?;
            snapshot.held = held;
            let key = keys::snapshot(id, title.as_str());
            tx.put(Table::Snapshots, &key, &snapshot.to_bytes()?)?;
            let of = (wanted.as_str(), title.as_str(), Rev(snapshot.rev));
            super::tell(tx, id, of, (&by, action, at_ms))?;
            if let Some(end) = snapshot.ends.filter(|_| !held) {
                let what = keys::due_snapshot(id, title.as_str());
                let due = keys::due(end, DueKind::Snapshot, &what);
                tx.put(Table::Due, &due, &[])?;
            }
            Ok::<_, RepoError>(())
        };
        self.write(Need::Keeps, action, mark).await
    }
}

/// The snapshot of a title.
fn find(
    get: &impl Get,
    name: &RepoName,
    title: &Title,
) -> Result<(RepoId, SnapshotRecord), RepoError> {
    let (id, _) =
        any_visible(get, name.as_str())?.ok_or_else(|| RepoError::NameUnknown(name.clone()))?;
    let row = get.get(Table::Snapshots, &keys::snapshot(id, title.as_str()))?;
    let row = row.ok_or_else(|| RepoError::SnapshotUnknown {
        name: name.to_string(),
        title: title.to_string(),
    })?;
    Ok((id, SnapshotRecord::from_bytes(&row)?))
}

/// Drops a snapshot with its pin, and has the collector look at what they kept.
fn remove(
    tx: &mut Txn<'_>,
    id: RepoId,
    title: &str,
    snapshot: &SnapshotRecord,
) -> Result<(), StoreError> {
    let rev = Rev(snapshot.rev);
    tx.delete(Table::Snapshots, &keys::snapshot(id, title))?;
    tx.delete(Table::Pins, &keys::pin(id, rev, title))?;
    if let Some(end) = snapshot.ends {
        let what = keys::due_snapshot(id, title);
        tx.delete(Table::Due, &keys::due(end, DueKind::Snapshot, &what))?;
    }
    let due = keys::due(tx.running_ms(), DueKind::Unpinned, &keys::due_rev(id, rev));
    tx.put(Table::Due, &due, &[])
}

/// Ends a snapshot whose time is over, unless it is held; whether it did.
pub(in crate::repo) fn expire(
    tx: &mut Txn<'_>,
    (id, record): (RepoId, &RepoRecord),
    title: &str,
    context: &Context,
) -> Result<bool, StoreError> {
    let Some(row) = tx.get(Table::Snapshots, &keys::snapshot(id, title))? else {
        return Ok(false);
    };
    let snapshot = SnapshotRecord::from_bytes(&row)?;
    let is_over = snapshot.ends.is_some_and(|end| end <= tx.running_ms());
    if !is_over || snapshot.held {
        return Ok(false);
    }
    let of = (record.name.as_str(), title, Rev(snapshot.rev));
    let by = (context.who.as_str(), "snapshot.expire", context.at_ms);
    super::tell(tx, id, of, by)?;
    remove(tx, id, title, &snapshot)?;
    Ok(true)
}

/// Refuses to delete a repository that has snapshots, unless they go with it; one that is held never does.
pub(in crate::repo) fn to_go_with(
    get: &impl Get,
    id: RepoId,
    record: &RepoRecord,
    with_snapshots: bool,
) -> Result<(), RepoError> {
    let (mut from, to) = keys::snapshots(id).range();
    let (mut count, mut named) = (0, Vec::new());
    loop {
        let rows = get.scan(Table::Snapshots, &from, &to, PAGE)?;
        for (key, row) in &rows {
            let title = keys::snapshot_parts(key).map_or("", |(_, title)| title);
            if SnapshotRecord::from_bytes(row)?.held {
                return Err(RepoError::Refused(format!(
                    "{} has the snapshot {title}, which is held; nothing was deleted, release it first",
                    record.name
                )));
            }
            if named.len() < NAMED {
                named.push(title.to_owned());
            }
        }
        count += rows.len();
        match rows.last().filter(|_| rows.len() == PAGE) {
            Some((last, _)) => from = [last.as_slice(), &[0]].concat(),
            None => break,
        }
    }
    if count == 0 || with_snapshots {
        return Ok(());
    }
    let more = if count > named.len() { ", ..." } else { "" };
    let text = format!(
        "{} has snapshots ({}{more}), which would go with it; nothing was deleted, delete them first or say that they go, too",
        record.name,
        named.join(", ")
    );
    Err(RepoError::Mendable(text, Remedy::WithSnapshots))
}
