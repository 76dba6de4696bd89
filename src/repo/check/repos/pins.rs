//! Snapshots and the pins that keep their revisions: each has the other.

use crate::repo::check::mend::Mend;
use crate::repo::check::report::{Problem, ProblemKind};
use crate::repo::check::walk::{self, Owner, PAGE, Walk, owner};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, DueKind};
use crate::repo::rows::record::SnapshotRecord;
use crate::store::record::Record;
use crate::store::{Get, Read, Table};

/// One page of pins.
pub(in crate::repo::check) fn pins(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Pins, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        let Some((id, rev, title)) = keys::pin_of_snapshot(key) else {
            let what = format!("a pin with the key {}", walk::hex(key));
            let how = "it is kept as it is: it may be of a newer version";
            walk.tell(Problem::new(ProblemKind::PinUnreadable, what).how(how));
            continue;
        };
        let repo = match owner(r, id)? {
            Owner::There(record) if record.deleted => continue,
            Owner::There(record) => record.name,
            Owner::Gone => {
                walk.repo_missing(id);
                continue;
            }
            Owner::Unreadable => continue,
        };
        walk.saw_rev(id, rev.0);
        let of = keys::snapshot(id, title);
        let seen = r.get(Table::Snapshots, &of)?;
        let snapshot = match &seen {
            Some(row) => match walk::readable(SnapshotRecord::from_bytes(row))? {
                Some(snapshot) => Some(snapshot),
                // Told of by its own page; what it may keep stays.
                None => continue,
            },
            None => None,
        };
        if snapshot.is_some_and(|snapshot| snapshot.rev == rev.0) {
            continue;
        }
        let what = format!(
            "revision {} of {repo} is kept for a snapshot {title}, which there is not",
            rev.0
        );
        let now = r.running_ms();
        let due = keys::due(now, DueKind::Unpinned, &keys::due_rev(id, rev));
        let mend = Mend::Rows {
            guard: vec![
                (Table::Snapshots, of, seen),
                (Table::Pins, key.clone(), Some(value.clone())),
            ],
            change: vec![
                (Table::Pins, key.clone(), None),
                (Table::Due, due, Some(Vec::new())),
            ],
        };
        walk.mend(Problem::new(ProblemKind::PinExtra, what).repo(repo), mend);
    }
    Ok(walk::next(&rows, PAGE))
}

/// One page of snapshots.
pub(in crate::repo::check) fn snapshots(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Snapshots, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        let parts = keys::snapshot_parts(key);
        let (Some((id, title)), Some(snapshot)) =
            (parts, walk::readable(SnapshotRecord::from_bytes(value))?)
        else {
            let what = format!("a snapshot with the key {}", walk::hex(key));
            let how = "what it keeps stays; delete it and make it anew, or restore a backup";
            walk.tell(Problem::new(ProblemKind::SnapshotUnreadable, what).how(how));
            continue;
        };
        let repo = match owner(r, id)? {
            Owner::There(record) if record.deleted => continue,
            Owner::There(record) => record.name,
            Owner::Gone => {
                walk.repo_missing(id);
                continue;
            }
            Owner::Unreadable => continue,
        };
        walk.saw_rev(id, snapshot.rev);
        let pin = keys::pin(id, crate::types::Rev(snapshot.rev), title);
        if r.get(Table::Pins, &pin)?.is_none() {
            let what = format!(
                "nothing keeps revision {} of {repo}, of which {title} is a snapshot",
                snapshot.rev
            );
            let why = (Table::Snapshots, key.clone(), Some(value.clone()));
            let mend = Mend::write(why, Table::Pins, pin, Vec::new());
            walk.mend(Problem::new(ProblemKind::PinMissing, what).repo(repo), mend);
        }
    }
    Ok(walk::next(&rows, PAGE))
}
