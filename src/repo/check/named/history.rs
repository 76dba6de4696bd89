//! Changes and referrers: each row must belong to an item.

use crate::repo::check::mend::Mend;
use crate::repo::check::report::{Problem, ProblemKind};
use crate::repo::check::walk::{self, Owner, PAGE, Suspect, Walk, owner, repo_name};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, DueKind, Name};
use crate::repo::rows::record::{ChangeRecord, ItemRecord};
use crate::store::feed::FeedRecord;
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{RepoId, Rev};

/// Rows of the feed that are searched for one revision's time and person.
const FEED: usize = 200_000;

/// Looks at the head row of a revision that has changes; writes it from the feed, which says the same.
pub(in crate::repo::check) fn head_of(
    walk: &mut Walk,
    r: &Read<'_>,
    id: RepoId,
    rev: Rev,
    repo: &str,
) -> Result<(), RepoError> {
    let key = keys::change_head(id, rev);
    // Several changes share it; it is told of once.
    if walk.expects_ref(&key) {
        return Ok(());
    }
    let row = r.get(Table::Changes, &key)?;
    if let Some(row) = &row
        && walk::readable(ChangeRecord::from_bytes(row))?.is_some()
    {
        return Ok(());
    }
    walk.expect_ref(&key);
    let what = format!("time and person of revision {} of {repo}", rev.0);
    let problem = Problem::new(ProblemKind::ChangeHeadMissing, what).repo(repo);
    match told(r, id, rev)? {
        Some(feed) => {
            let value = ChangeRecord {
                at_ms: feed.at_ms,
                who: feed.who,
                why: feed.why,
            };
            let mend = Mend::Rows {
                guard: vec![(Table::Changes, key.clone(), row)],
                change: vec![(Table::Changes, key, Some(value.to_bytes()?))],
            };
            walk.mend(problem, mend);
        }
        None => walk.tell(problem.how("the feed does not tell of it any more; nothing else can")),
    }
    Ok(())
}

/// What the feed says of a revision.
fn told(r: &Read<'_>, id: RepoId, rev: Rev) -> Result<Option<FeedRecord>, RepoError> {
    let mut to = Vec::new();
    let mut left = FEED;
    loop {
        let rows = r.scan_back(Table::Feed, &[], &to, PAGE)?;
        for (_, row) in &rows {
            if let Some(row) = walk::readable(FeedRecord::from_bytes(row))?
                && row.is_revision_of(id.0)
                && row.rev <= rev.0
            {
                // A repository's revisions are told of in order: an older one ends the search.
                return Ok((row.rev == rev.0).then_some(row));
            }
        }
        left = left.saturating_sub(rows.len());
        match rows.last().filter(|_| left > 0) {
            Some((key, _)) => to.clone_from(key),
            None => return Ok(None),
        }
    }
}

/// One page of changes.
pub(in crate::repo::check) fn changes(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Changes, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        let mut parts = Parts(key);
        let head = parts.u64().map(RepoId).zip(parts.u64().map(Rev));
        let (Some((id, rev)), Some(class)) = (head, parts.u8()) else {
            drop_change(
                walk,
                Problem::new(ProblemKind::ChangeExtra, unreadable(key)),
                key,
            );
            continue;
        };
        match owner(r, id)? {
            Owner::There(record) if record.deleted => continue,
            Owner::There(record) => {
                walk.saw_rev(id, rev.0);
                if class == 0 {
                    revision(walk, r, (id, rev), &record.name, (key, value))?;
                    continue;
                }
            }
            Owner::Gone => {
                walk.repo_missing(id);
                continue;
            }
            Owner::Unreadable => continue,
        }
        match keys::name_of_change(key) {
            Some(name) if is_known(walk, r, id, rev, &name)? => {}
            Some(_) => walk.suspects.push(Suspect::Change {
                key: key.clone(),
                id,
                rev,
            }),
            None => drop_change(
                walk,
                Problem::new(ProblemKind::ChangeExtra, unreadable(key)),
                key,
            ),
        }
    }
    Ok(walk::next(&rows, PAGE))
}

fn unreadable(key: &[u8]) -> String {
    format!("a change with the key {}", walk::hex(key))
}

fn drop_change(walk: &mut Walk, problem: Problem, key: &[u8]) {
    let mend = Mend::Rows {
        guard: Vec::new(),
        change: vec![(Table::Changes, key.to_vec(), None)],
    };
    walk.mend(problem, mend);
}

/// The head row of a revision: it can be read, and there are changes that it belongs to.
fn revision(
    walk: &mut Walk,
    r: &Read<'_>,
    (id, rev): (RepoId, Rev),
    repo: &str,
    (key, value): (&[u8], &[u8]),
) -> Result<(), RepoError> {
    let (from, to) = keys::change_names(id, rev);
    if !r.scan(Table::Changes, &from, &to, 1)?.is_empty() {
        return head_of(walk, r, id, rev, repo);
    }
    let what = format!("revision {} of {repo}, which changed nothing", rev.0);
    let problem = Problem::new(ProblemKind::ChangeExtra, what).repo(repo);
    let mend = Mend::drop(Vec::new(), Table::Changes, key.to_vec(), value.to_vec());
    walk.mend(problem, mend);
    Ok(())
}

/// Whether an item was added or closed by this revision, or the collector still has to look at the revision.
pub(in crate::repo::check) fn is_known(
    walk: &Walk,
    r: &Read<'_>,
    id: RepoId,
    rev: Rev,
    name: &Name<'_>,
) -> Result<bool, RepoError> {
    if walk.is_lost(id, name, rev) || walk.has_due(DueKind::History as u8, &keys::due_rev(id, rev))
    {
        return Ok(true);
    }
    for past in [false, true] {
        if r.get(Table::Items, &keys::item(id, name, past, rev))?
            .is_some()
        {
            return Ok(true);
        }
    }
    let from = keys::item(id, name, true, Rev(rev.0.saturating_sub(1)));
    let (_, to) = keys::item_rows(id, name, true).range();
    let before = r.scan(Table::Items, &from, &to, 1)?.pop();
    let Some((_, before)) = before else {
        return Ok(false);
    };
    let before = walk::readable(ItemRecord::from_bytes(&before))?;
    Ok(before.is_none_or(|item| item.removed == rev.0))
}

/// One page of referrers.
pub(in crate::repo::check) fn referrers(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Referrers, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        let mut parts = Parts(key);
        let head = (|| Some((RepoId(parts.u64()?), parts.u8()? == 1, parts.digest()?)))();
        let rest = keys::referrer_parts(key).zip(keys::added_of_referrer(key));
        let (Some((id, past, subject)), Some(((artifact_type, digest), added))) = (head, rest)
        else {
            let what = format!("a referrer with the key {}", walk::hex(key));
            let mend = Mend::drop(Vec::new(), Table::Referrers, key.clone(), value.clone());
            walk.mend(Problem::new(ProblemKind::ReferrerExtra, what), mend);
            continue;
        };
        match owner(r, id)? {
            Owner::There(record) if !record.deleted => {}
            Owner::Gone => {
                walk.repo_missing(id);
                continue;
            }
            _ => continue,
        }
        let name = Name::manifest(&digest);
        let row = r.get(Table::Items, &keys::item(id, &name, past, added))?;
        let row = match row {
            None if walk.is_lost(id, &name, added) => continue,
            None => None,
            Some(row) => match walk::readable(ItemRecord::from_bytes(&row))? {
                None => continue,
                Some(row) => Some(row),
            },
        };
        let fits =
            |row: &ItemRecord| row.own == subject.as_key() && row.artifact_type == artifact_type;
        if !row.as_ref().is_some_and(fits) {
            let repo = repo_name(r, id)?;
            let what = format!("manifest {digest} of {repo} among the referrers of {subject}");
            let problem = Problem::new(ProblemKind::ReferrerExtra, what).repo(repo);
            let mend = Mend::drop(Vec::new(), Table::Referrers, key.clone(), value.clone());
            walk.mend(problem.digest(&digest), mend);
        }
    }
    Ok(walk::next(&rows, PAGE))
}
