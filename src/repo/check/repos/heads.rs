//! Repositories, their names, and the feed.

use super::trees;
use crate::repo::check::mend::Mend;
use crate::repo::check::report::{Problem, ProblemKind};
use crate::repo::check::walk::{self, Owner, PAGE, Suspect, Walk, owner};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, DueKind};
use crate::repo::rows::number;
use crate::repo::rows::record::{ChangeRecord, RepoRecord};
use crate::repo::stage::{self, StageId};
use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, StoreError, Table};
use crate::types::{RepoId, Rev};

/// One page of the feed.
pub(in crate::repo::check) fn feed(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Feed, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    if from.is_empty() {
        // A key that is none is told of below.
        walk.feed_whole = match feed::is_whole(r) {
            Err(StoreError::Damaged(_)) => false,
            whole => whole?,
        };
    }
    for (key, value) in &rows {
        let row = walk::readable(FeedRecord::from_bytes(value))?;
        if let Some(row) = row.filter(|_| key.len() == 8) {
            if row.is_revision_of(row.repo) {
                let newest = walk.told.entry(row.repo).or_default();
                *newest = row.rev.max(*newest);
            }
            continue;
        }
        let what = format!("row {} of the feed", number(key));
        let mend = Mend::drop(Vec::new(), Table::Feed, key.clone(), value.clone());
        walk.mend(Problem::new(ProblemKind::FeedUnreadable, what), mend);
    }
    Ok(walk::next(&rows, PAGE))
}

/// One page of repositories.
pub(in crate::repo::check) fn repos(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Repos, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        let id = RepoId(number(key));
        let Some(record) = walk::readable(RepoRecord::from_bytes(value))? else {
            walk.unsure.insert(id.0);
            let what = format!("the row of repository number {}", id.0);
            walk.tell(
                Problem::new(ProblemKind::RepoUnreadable, what)
                    .how("restore its row from a backup"),
            );
            continue;
        };
        number_given(walk, r, id)?;
        if record.deleted {
            let what = keys::repo(id);
            if !walk.has_due(DueKind::Repo as u8, &what) {
                walk.suspects.push(Suspect::Repo(id));
            }
            continue;
        }
        walk.note_name(&record.name);
        name_of(walk, r, id, &record, (key, value))?;
        trees::of_repo(walk, r, id, &record, (key, value))?;
        revisions(walk, r, id, &record, (key, value))?;
        held(walk, r, id, &record, (key, value))?;
    }
    Ok(walk::next(&rows, PAGE))
}

fn number_given(walk: &mut Walk, r: &Read<'_>, id: RepoId) -> Result<(), RepoError> {
    let key = b"next_repo".to_vec();
    let seen = r.get(Table::Meta, &key)?;
    let next = seen.as_deref().map_or(1, number);
    // Numbers rise with the rows: the last row that is too high tells of all.
    let after = [keys::repo(id), vec![0]].concat();
    if next > id.0 || !r.scan(Table::Repos, &after, &[], 1)?.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the next repository would get number {next}, but {} is in use",
        id.0
    );
    let mend = Mend::Rows {
        guard: vec![(Table::Meta, key.clone(), seen)],
        change: vec![(Table::Meta, key, Some((id.0 + 1).to_be_bytes().to_vec()))],
    };
    walk.mend(Problem::new(ProblemKind::RepoNumberBehind, what), mend);
    Ok(())
}

fn name_of(
    walk: &mut Walk,
    r: &Read<'_>,
    id: RepoId,
    record: &RepoRecord,
    (key, value): (&[u8], &[u8]),
) -> Result<(), RepoError> {
    let name_key = keys::name(&record.name);
    let seen = r.get(Table::Names, &name_key)?;
    let leads_to = seen.as_deref().map(|id| RepoId(number(id)));
    if leads_to == Some(id) {
        return Ok(());
    }
    let problem = |kind, what: String| Problem::new(kind, what).repo(&record.name);
    if let Some(other) = leads_to
        && let Owner::There(found) = owner(r, other)?
        && !found.deleted
        && found.name == record.name
    {
        let what = format!(
            "repositories number {} and {} are both called {}",
            id.0, other.0, record.name
        );
        walk.tell(
            problem(ProblemKind::NameTwice, what)
                .how("the name leads to the second one; restore from a backup"),
        );
        return Ok(());
    }
    let what = format!(
        "the name {} does not lead to its repository (number {})",
        record.name, id.0
    );
    let mend = Mend::Rows {
        guard: vec![
            (Table::Repos, key.to_vec(), Some(value.to_vec())),
            (Table::Names, name_key.clone(), seen),
        ],
        change: vec![(Table::Names, name_key, Some(id.0.to_be_bytes().to_vec()))],
    };
    walk.mend(problem(ProblemKind::NameMissing, what), mend);
    Ok(())
}

fn revisions(
    walk: &mut Walk,
    r: &Read<'_>,
    id: RepoId,
    record: &RepoRecord,
    (key, value): (&[u8], &[u8]),
) -> Result<(), RepoError> {
    let mut right = record.clone();
    let mut seen = walk.evidence.get(&id.0).copied().unwrap_or_default();
    let next = record.head + 1;
    if seen == next && (record.stage.is_some() || !is_written(r, id, Rev(next))?) {
        // A stage makes it, or made it and was taken back since its rows were read.
        seen = record.head;
    }
    let told = walk.told.get(&id.0).copied().unwrap_or_default();
    right.head = right.head.max(seen).max(told);
    let problem = |kind, what: String| Problem::new(kind, what).repo(&record.name);
    if right.head > record.head {
        let what = format!(
            "{} is at revision {}, but has rows of revision {}",
            record.name, record.head, right.head
        );
        let mend = Mend::replace(
            Table::Repos,
            key.to_vec(),
            value.to_vec(),
            right.to_bytes()?,
        );
        walk.mend(problem(ProblemKind::HeadBehind, what), mend);
    } else if record.horizon > record.head {
        let what = format!(
            "{} is at revision {}, but can be read only from {} on",
            record.name, record.head, record.horizon
        );
        right.horizon = record.head;
        let mend = Mend::replace(
            Table::Repos,
            key.to_vec(),
            value.to_vec(),
            right.to_bytes()?,
        );
        walk.mend(problem(ProblemKind::HorizonAhead, what), mend);
    }
    if record.head > 0 && told < record.head && seen >= record.head && walk.feed_whole {
        not_told(walk, r, id, record)?;
    }
    Ok(())
}

/// A stage that holds the repository and that nobody would ever take back.
fn held(
    walk: &mut Walk,
    r: &Read<'_>,
    id: RepoId,
    record: &RepoRecord,
    (key, value): (&[u8], &[u8]),
) -> Result<(), RepoError> {
    let Some(number) = record.stage else {
        return Ok(());
    };
    if let Some((row, seen, right)) = stage::lost(r, StageId(number), id)? {
        let what = format!(
            "{} takes no changes, as it is held for a big change that is not there",
            record.name
        );
        let mend = Mend::Rows {
            guard: vec![
                (Table::Repos, key.to_vec(), Some(value.to_vec())),
                (Table::Meta, row.clone(), seen),
            ],
            change: vec![(Table::Meta, row, Some(right))],
        };
        walk.mend(
            Problem::new(ProblemKind::StageMissing, what).repo(&record.name),
            mend,
        );
    }
    Ok(())
}

/// Whether there are changes of the revision.
fn is_written(r: &Read<'_>, id: RepoId, rev: Rev) -> Result<bool, RepoError> {
    let (_, to) = keys::change_names(id, rev);
    let from = keys::change_head(id, rev);
    Ok(!r.scan(Table::Changes, &from, &to, 1)?.is_empty())
}

/// The feed has not told of the newest revision when it was read; it may have since.
fn not_told(
    walk: &mut Walk,
    r: &Read<'_>,
    id: RepoId,
    record: &RepoRecord,
) -> Result<(), RepoError> {
    let mut to = Vec::new();
    loop {
        let rows = r.scan_back(Table::Feed, &[], &to, PAGE)?;
        for (_, row) in &rows {
            if let Some(row) = walk::readable(FeedRecord::from_bytes(row))?
                && row.is_revision_of(id.0)
                && row.rev >= record.head
            {
                return Ok(());
            }
        }
        match rows.last() {
            Some((key, _)) => to.clone_from(key),
            None => break,
        }
    }
    let what = format!(
        "the feed does not tell of revision {} of {}",
        record.head, record.name
    );
    let problem = Problem::new(ProblemKind::FeedMissing, what).repo(&record.name);
    let change = r.get(Table::Changes, &keys::change_head(id, Rev(record.head)))?;
    let change = match change {
        Some(row) => walk::readable(ChangeRecord::from_bytes(&row))?,
        None => None,
    };
    match change {
        Some(change) => {
            let row = FeedRecord {
                kind: FeedKind::Revision as u8,
                repo: id.0,
                name: record.name.clone(),
                rev: record.head,
                at_ms: change.at_ms,
                who: change.who,
                why: change.why,
                cause: FeedCause::None,
            };
            let row = row.to_bytes()?;
            walk.mend(problem, Mend::Feed { row });
        }
        None => {
            walk.tell(problem.how("the history does not tell of it either; the next change will"));
        }
    }
    Ok(())
}

/// One page of names.
pub(in crate::repo::check) fn names(
    walk: &mut Walk,
    r: &Read<'_>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, RepoError> {
    let rows = r.scan(Table::Names, from, &[], PAGE)?;
    walk.rows += rows.len() as u64;
    for (key, value) in &rows {
        let id = RepoId(number(value));
        let Some(name) = Parts(key).text().map(str::to_owned) else {
            let what = format!("a name with the key {}", walk::hex(key));
            let mend = Mend::drop(Vec::new(), Table::Names, key.clone(), value.clone());
            walk.mend(Problem::new(ProblemKind::NameExtra, what), mend);
            continue;
        };
        match owner(r, id)? {
            Owner::There(record) if !record.deleted && record.name == name => continue,
            Owner::Unreadable => continue,
            // Its own repository has told of it.
            _ if walk.has_name(&name) => continue,
            Owner::Gone if has_rows(r, id)? => {
                walk.repo_missing(id);
                continue;
            }
            _ => {}
        }
        let what = format!(
            "the name {name} leads to repository number {}, which is not there or has another name",
            id.0
        );
        let mend = Mend::drop(Vec::new(), Table::Names, key.clone(), value.clone());
        walk.mend(Problem::new(ProblemKind::NameExtra, what), mend);
    }
    Ok(walk::next(&rows, PAGE))
}

fn has_rows(r: &Read<'_>, id: RepoId) -> Result<bool, RepoError> {
    let (from, to) = keys::of_repo(id).range();
    for table in [Table::Items, Table::Changes, Table::Referrers] {
        if !r.scan(table, &from, &to, 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
