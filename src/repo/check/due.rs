//! The collector's list: what must be on it, confirmed in one read; and what cannot be on it.
//!
//! An entry too many is a hint that costs a look, no more, and mostly no problem: a link may go before its lease ends, a
//! manifest before its time, and their rows stay until they are due. A row that nobody can have asked for is one
//! ([`strange`]): it stands in place of what must be there, or never goes.

use super::items::is_needed;
use super::items::live_manifest;
use super::mend::Mend;
use super::report::{Problem, ProblemKind};
use super::walk::{self, Owner, PAGE, Suspect, Walk, owner, repo_name};
use crate::repo::Inner;
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, DueKind};
use crate::repo::stage;

use crate::repo::rows::record::ItemRecord;
use crate::repo::rows::{self, number};
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId, Rev};

/// Running time may lag behind what was written by this much, after a power cut.
const AHEAD_MS: u64 = 60 * 60 * 1000;

/// One page of due rows.
pub(super) fn page(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Due, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    let next = numbers(r)?;
    for (key, value) in &rows {
        let (kind, what) = match strange(walk, r, next, key, value)? {
            Some(what) => (ProblemKind::DueExtra, what),
            None if note(walk, key) => continue,
            None => {
                let what = format!("a due row with the key {}", walk::hex(key));
                (ProblemKind::DueUnreadable, what)
            }
        };
        let mend = Mend::drop(Vec::new(), Table::Due, key.clone(), value.clone());
        walk.mend(Problem::new(kind, what), mend);
    }
    Ok(walk::next(&rows, PAGE))
}

/// The first repository number that was never given.
fn numbers(r: &Read<'_>) -> Result<u64, RepoError> {
    let next = r.get(Table::Meta, b"next_repo")?;
    let last = r.scan_back(Table::Repos, &[], &[], 1)?.pop();
    let given = last.map_or(0, |(key, _)| number(&key));
    Ok(next.as_deref().map_or(1, number).max(given + 1))
}

/// Why nobody can have asked for a due row, if that is so: it names a repository that never was, or is to remove one that
/// is not deleted, or waits although its kind never does. One that names a revision is looked at when all others have
/// been seen.
fn strange(
    walk: &mut Walk,
    r: &Read<'_>,
    next: u64,
    key: &[u8],
    value: &[u8],
) -> Result<Option<String>, RepoError> {
    let Some((at, kind, what)) = keys::due_parts(key) else {
        return Ok(None);
    };
    let (id, rev) = repository(kind, what);
    let name = kind_name(kind);
    let at_once = matches!(
        kind,
        DueKind::Orphan | DueKind::Subject | DueKind::Past | DueKind::Closed | DueKind::Unpinned
    );
    if at_once && at > r.running_ms() + AHEAD_MS {
        let text =
            format!("a due row asks to look at {name} far ahead; such a look is never put off");
        return Ok(Some(text));
    }
    let Some(id) = id else {
        return Ok(None);
    };
    if id == 0 || id >= next {
        let text =
            format!("a due row asks to look at {name} of repository number {id}, which never was");
        return Ok(Some(text));
    }
    let owner = owner(r, RepoId(id))?;
    if let Owner::There(record) = &owner
        && kind == DueKind::Repo
        && !record.deleted
    {
        let text = format!(
            "a due row asks to remove {}, which is not deleted",
            record.name
        );
        return Ok(Some(text));
    }
    if let (Owner::There(record), Some(rev)) = (&owner, rev)
        // A stage closes what it added, and may be taken back.
        && rev > record.head + u64::from(kind == DueKind::Past)
    {
        walk.suspects.push(Suspect::Due {
            key: key.to_vec(),
            value: value.to_vec(),
            id: RepoId(id),
            rev: Rev(rev),
        });
    }
    Ok(None)
}

/// The numbers of the repository and the revision that a due row of this kind names, as far as it names them.
fn repository(kind: DueKind, what: &[u8]) -> (Option<u64>, Option<u64>) {
    let mut parts = Parts(what);
    match kind {
        DueKind::Lease => (parts.digest().and_then(|_| parts.u64()), None),
        DueKind::Orphan => (None, None),
        DueKind::Untagged
        | DueKind::Subject
        | DueKind::Repo
        | DueKind::Closed
        | DueKind::List
        | DueKind::Snapshot => (parts.u64(), None),
        DueKind::History | DueKind::Unpinned => (parts.u64(), parts.u64()),
        DueKind::Past => (parts.u64(), parts.digest().and_then(|_| parts.u64())),
    }
}

fn kind_name(kind: DueKind) -> &'static str {
    match kind {
        DueKind::Lease => "a lease",
        DueKind::Orphan => "a blob",
        DueKind::Untagged => "a manifest without a tag",
        DueKind::History => "the history",
        DueKind::Subject => "referrers",
        DueKind::List => "a list of referrers",
        DueKind::Past => "a removed manifest",
        DueKind::Repo => "the rest",
        DueKind::Closed => "the blobs of a removed manifest",
        DueKind::Unpinned => "what a snapshot kept",
        DueKind::Snapshot => "a snapshot's end",
    }
}

/// A due row of a revision that never was, if no other row speaks of that revision.
fn revision(
    walk: &mut Walk,
    r: &Read<'_>,
    (key, value): (Vec<u8>, Vec<u8>),
    id: RepoId,
    rev: Rev,
) -> Result<(), RepoError> {
    let seen = walk.evidence.get(&id.0).copied().unwrap_or_default();
    let head = match owner(r, id)? {
        Owner::There(record) => record.head,
        _ => return Ok(()),
    };
    if rev.0 > head.max(seen) && r.get(Table::Due, &key)?.as_ref() == Some(&value) {
        let name = repo_name(r, id)?;
        let what = format!(
            "a due row speaks of revision {} of {name}, whose newest is {head}",
            rev.0
        );
        let mend = Mend::drop(Vec::new(), Table::Due, key, value);
        walk.mend(Problem::new(ProblemKind::DueExtra, what).repo(name), mend);
    }
    Ok(())
}

/// Notes what a due row asks for; `false` if nobody can read it.
fn note(walk: &mut Walk, key: &[u8]) -> bool {
    let Some((_, kind, what)) = keys::due_parts(key) else {
        return false;
    };
    let mut parts = Parts(what);
    let (read, length) = match kind {
        DueKind::Lease => (
            parts.digest().is_some() && parts.u64().is_some(),
            what.len(),
        ),
        DueKind::Orphan => (parts.digest().is_some(), what.len()),
        DueKind::Untagged | DueKind::Closed | DueKind::List => (
            parts.u64().is_some() && parts.digest().is_some(),
            what.len(),
        ),
        DueKind::History | DueKind::Unpinned => {
            (parts.u64().is_some() && parts.u64().is_some(), what.len())
        }
        DueKind::Snapshot => (parts.u64().is_some() && parts.text().is_some(), what.len()),
        // What follows says where in the referrers to go on.
        DueKind::Subject => {
            let read = parts.u64().is_some() && parts.digest().is_some();
            (read, what.len() - parts.rest().len())
        }
        DueKind::Past => {
            let read = parts.u64().is_some() && parts.digest().is_some() && parts.u64().is_some();
            (read, what.len())
        }
        DueKind::Repo => (parts.u64().is_some(), what.len()),
    };
    if read && let Some(what) = what.get(..length) {
        walk.note_due(kind as u8, what);
    }
    read
}

/// Looks at all suspects again, against the whole list, in this one read.
pub(super) fn confirm(walk: &mut Walk, inner: &Inner, r: &Read<'_>) -> Result<(), RepoError> {
    let suspects = std::mem::take(&mut walk.suspects);
    if suspects.is_empty() {
        return Ok(());
    }
    walk.forget_due();
    let mut from = Vec::new();
    loop {
        let rows = r.scan(Table::Due, &from, &[], 10 * PAGE)?;
        for (key, _) in &rows {
            note(walk, key);
        }
        match walk::next(&rows, 10 * PAGE) {
            Some(next) => from = next,
            None => break,
        }
    }
    for suspect in suspects {
        match suspect {
            Suspect::Orphan(digest) => orphan(walk, r, &digest)?,
            Suspect::Untagged(id, digest) => untagged(walk, inner, r, id, &digest)?,
            Suspect::History(id, rev) => {
                let what = keys::due_rev(id, rev);
                // The flip of a stage writes that row.
                let is_to_come = stage::staged_rev(r, id)? == Some(rev);
                let closed = closes(r, id, rev)?;
                if closed && !is_to_come && !walk.has_due(DueKind::History as u8, &what) {
                    let name = repo_name(r, id)?;
                    let text = format!("the history of revision {} of {name}", rev.0);
                    let problem = Problem::new(ProblemKind::HistoryDueMissing, text).repo(name);
                    hint(walk, inner, r, problem, DueKind::History, &what);
                }
            }
            Suspect::Repo(id) => {
                let what = keys::repo(id);
                let is_deleted = matches!(owner(r, id)?, Owner::There(record) if record.deleted);
                if is_deleted && !walk.has_due(DueKind::Repo as u8, &what) {
                    let text = format!("deleted repository number {}", id.0);
                    let problem = Problem::new(ProblemKind::RepoDueMissing, text);
                    hint(walk, inner, r, problem, DueKind::Repo, &what);
                }
            }
            Suspect::Change { key, id, rev } => change(walk, r, &key, id, rev)?,
            Suspect::Due {
                key,
                value,
                id,
                rev,
            } => revision(walk, r, (key, value), id, rev)?,
        }
    }
    Ok(())
}

/// Puts a row on the list: what waits for the history waits its whole time, the rest is looked at now.
fn hint(
    walk: &mut Walk,
    inner: &Inner,
    r: &Read<'_>,
    problem: Problem,
    kind: DueKind,
    what: &[u8],
) {
    let now = r.running_ms();
    let waits = matches!(kind, DueKind::History | DueKind::Untagged);
    let keep = inner.options.keep.as_millis() as u64;
    let (at, value) = if waits {
        (now + keep, now.to_be_bytes().to_vec())
    } else {
        (now, Vec::new())
    };
    walk.note_due(kind as u8, what);
    let mend = Mend::hint(Table::Due, keys::due(at, kind, what), value);
    walk.mend(problem, mend);
}

fn orphan(walk: &mut Walk, r: &Read<'_>, digest: &Digest) -> Result<(), RepoError> {
    let key = digest.as_key();
    let is_orphan = r.get(Table::Blobs, key)?.is_some() && !rows::is_referenced(r, digest)?;
    let excused = walk.is_excused(RepoId(0), digest);
    if is_orphan && !excused && !walk.has_due(DueKind::Orphan as u8, key) {
        let what = format!("blob {digest}, which nothing needs");
        let problem = Problem::new(ProblemKind::OrphanDueMissing, what).digest(digest);
        let at = keys::due(r.running_ms(), DueKind::Orphan, key);
        walk.mend(problem, Mend::hint(Table::Due, at, Vec::new()));
    }
    Ok(())
}

fn untagged(
    walk: &mut Walk,
    inner: &Inner,
    r: &Read<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<(), RepoError> {
    let Some((_, row)) = live_manifest(r, id, digest)? else {
        return Ok(());
    };
    let what = keys::due_in(id, digest);
    let mut noted = walk.has_due(DueKind::Untagged as u8, &what);
    if let Ok(subject) = Digest::from_key(&row.own) {
        noted |= walk.has_due(DueKind::Subject as u8, &keys::due_in(id, &subject));
    }
    if noted || walk.is_excused(id, digest) || is_needed(r, id, digest, &row)? {
        return Ok(());
    }
    let name = repo_name(r, id)?;
    let text = format!("manifest {digest} of {name}, which nothing needs");
    let problem = Problem::new(ProblemKind::UntaggedDueMissing, text)
        .repo(name)
        .digest(digest);
    hint(walk, inner, r, problem, DueKind::Untagged, &what);
    Ok(())
}

/// Whether a past row that this revision closed is still there.
fn closes(r: &Read<'_>, id: RepoId, rev: Rev) -> Result<bool, RepoError> {
    let (mut from, to) = keys::change_names(id, rev);
    loop {
        let rows = r.scan(Table::Changes, &from, &to, PAGE)?;
        for (key, _) in &rows {
            let Some(name) = keys::name_of_change(key) else {
                continue;
            };
            let before = Rev(rev.0.saturating_sub(1));
            let from = keys::item(id, &name, true, before);
            let (_, to) = keys::item_rows(id, &name, true).range();
            let Some((_, row)) = r.scan(Table::Items, &from, &to, 1)?.pop() else {
                continue;
            };
            let row = walk::readable(ItemRecord::from_bytes(&row))?;
            if row.is_some_and(|row| row.removed == rev.0) {
                return Ok(true);
            }
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => return Ok(false),
        }
    }
}

fn change(
    walk: &mut Walk,
    r: &Read<'_>,
    key: &[u8],
    id: RepoId,
    rev: Rev,
) -> Result<(), RepoError> {
    let Some(name) = keys::name_of_change(key) else {
        return Ok(());
    };
    let there = r.get(Table::Changes, key)?.is_some();
    let is_deleted = !matches!(owner(r, id)?, Owner::There(record) if !record.deleted);
    if !there || is_deleted || super::history::is_known(walk, r, id, rev, &name)? {
        return Ok(());
    }
    let repo = repo_name(r, id)?;
    let what = format!("the change of {name} of {repo} at revision {}", rev.0);
    let problem = Problem::new(ProblemKind::ChangeExtra, what).repo(repo);
    walk.mend(
        problem,
        Mend::Change {
            key: key.to_vec(),
            id,
            rev,
        },
    );
    Ok(())
}
