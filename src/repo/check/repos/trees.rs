//! The list of repositories that are no registries: each must be in it, and nothing else.

use crate::repo::check::mend::Mend;
use crate::repo::check::report::{Problem, ProblemKind};
use crate::repo::check::walk::{self, Owner, PAGE, Walk, owner};
use crate::repo::error::RepoError;
use crate::repo::rows::keys;
use crate::repo::rows::number;
use crate::repo::rows::record::RepoRecord;
use crate::store::{Get, Read, Table};
use crate::types::{self, RepoId};

fn is_tree(record: &RepoRecord) -> bool {
    types::Kind::of(record.kind).is_some_and(types::Kind::is_tree)
}

/// Looks whether a repository is in the list, if it should be.
pub(in crate::repo::check) fn of_repo(
    walk: &mut Walk,
    r: &Read<'_>,
    id: RepoId,
    record: &RepoRecord,
    (key, value): (&[u8], &[u8]),
) -> Result<(), RepoError> {
    if !is_tree(record) {
        return Ok(());
    }
    let row = keys::tree(&record.name);
    let seen = r.get(Table::Meta, &row)?;
    if seen.as_deref().map(number) == Some(id.0) {
        return Ok(());
    }
    let what = format!("the paths of {} do not lead to it", record.name);
    let mend = Mend::Rows {
        guard: vec![
            (Table::Repos, key.to_vec(), Some(value.to_vec())),
            (Table::Meta, row.clone(), seen),
        ],
        change: vec![(Table::Meta, row, Some(id.0.to_be_bytes().to_vec()))],
    };
    walk.mend(
        Problem::new(ProblemKind::TreeWrong, what).repo(&record.name),
        mend,
    );
    Ok(())
}

/// Drops what stands in the list and is no such repository.
pub(in crate::repo::check) fn strays(walk: &mut Walk, r: &Read<'_>) -> Result<(), RepoError> {
    let (mut from, to) = keys::trees();
    loop {
        let rows = r.scan(Table::Meta, &from, &to, PAGE)?;
        walk.rows += rows.len() as u64;
        for (key, value) in &rows {
            let name = keys::name_of_tree(key).unwrap_or_default();
            let is_it = match owner(r, RepoId(number(value)))? {
                Owner::There(record) => !record.deleted && is_tree(&record) && record.name == name,
                Owner::Gone => false,
                Owner::Unreadable => true,
            };
            if !is_it {
                let what = format!("paths of {name} lead to no such repository");
                let mend = Mend::drop(Vec::new(), Table::Meta, key.clone(), value.clone());
                walk.mend(Problem::new(ProblemKind::TreeWrong, what), mend);
            }
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}
