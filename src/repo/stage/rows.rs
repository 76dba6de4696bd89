//! The rows of stages: one for each, and the mark in the repositories that it holds.

use crate::repo::rows::keys;
use crate::repo::rows::number;
use crate::repo::rows::record::RepoRecord;
use crate::store::key::Key;
use crate::store::record::{Decode, Encode, Record};
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::RepoId;

/// How the keys of stages in `meta` begin; their number follows.
const STAGES: &[u8] = b"stage ";

/// Key, what is there, and what is to be.
pub(in crate::repo) type LostStage = (Vec<u8>, Option<Vec<u8>>, Vec<u8>);

/// The number of a stage: random, so that none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::repo) struct StageId(pub u64);

/// A big change under way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StageRecord {
    /// The repositories that it changes.
    pub repos: Vec<u64>,
    /// A hash of what it is to change: who begins the same again goes on with it.
    pub plan: Vec<u8>,
    /// The job that makes it; 0: none, and it ends with its process.
    pub job: u64,
    /// Who asked for it.
    pub who: String,
    /// The action's name.
    pub why: String,
    /// When it was begun (wall clock, ms).
    pub at_ms: u64,
    /// It is being taken back: nobody goes on with it.
    pub undone: bool,
}

impl Record for StageRecord {
    const NAME: &'static str = "stage";
    const VERSION: u8 = 1;
}

fn key(id: StageId) -> Vec<u8> {
    Key::new().raw(STAGES).u64(id.0).done()
}

pub(super) fn put(tx: &mut Txn<'_>, id: StageId, stage: &StageRecord) -> Result<(), StoreError> {
    tx.put(Table::Meta, &key(id), &stage.to_bytes()?)
}

pub(super) fn delete(tx: &mut Txn<'_>, id: StageId) -> Result<(), StoreError> {
    tx.delete(Table::Meta, &key(id))
}

/// The stage of a number.
pub(in crate::repo) fn find(
    get: &impl Get,
    id: StageId,
) -> Result<Option<StageRecord>, StoreError> {
    let row = get.get(Table::Meta, &key(id))?;
    row.map(|row| StageRecord::from_bytes(&row)).transpose()
}

/// All stages, at most `limit`: there is one for each big change under way.
pub(in crate::repo) fn all(
    get: &impl Get,
    limit: usize,
) -> Result<Vec<(StageId, StageRecord)>, StoreError> {
    let (from, to) = Key::new().raw(STAGES).range();
    let rows = get.scan(Table::Meta, &from, &to, limit)?;
    // One that cannot be read is told of by a check.
    let read = |(key, row): &(Vec<u8>, Vec<u8>)| {
        let id = StageId(number(key.get(STAGES.len()..)?));
        Some((id, StageRecord::from_bytes(row).ok()?))
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// Of a stage that holds a repository and whose row is gone or cannot be read: the row's key, what is there, and what has the
/// stage taken back. Nothing if the row is as it must be.
pub(in crate::repo) fn lost(
    get: &impl Get,
    id: StageId,
    repo: RepoId,
) -> Result<Option<LostStage>, StoreError> {
    let seen = get.get(Table::Meta, &key(id))?;
    let is_good =
        |row: &[u8]| StageRecord::from_bytes(row).is_ok_and(|stage| stage.repos.contains(&repo.0));
    if seen.as_deref().is_some_and(is_good) {
        return Ok(None);
    }
    let mut repos = vec![repo.0];
    if let Some(Ok(stage)) = seen.as_deref().map(StageRecord::from_bytes) {
        repos.extend(stage.repos);
    }
    let right = StageRecord {
        repos,
        plan: Vec::new(),
        job: 0,
        who: String::new(),
        why: "check.repair".into(),
        at_ms: 0,
        undone: true,
    };
    let right = right.to_bytes()?;
    Ok(Some((key(id), seen, right)))
}

/// The row of a repository, if the stage holds it.
pub(super) fn held_by(
    get: &impl Get,
    repo: RepoId,
    stage: StageId,
) -> Result<Option<RepoRecord>, StoreError> {
    let row = get.get(Table::Repos, &keys::repo(repo))?;
    let record = row.map(|row| RepoRecord::from_bytes(&row)).transpose()?;
    Ok(record.filter(|record| record.stage == Some(stage.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::golden;

    #[test]
    fn golden_stages() {
        golden::check(&StageRecord {
            repos: vec![3, 300],
            plan: vec![7; 32],
            job: 12,
            who: "operator".into(),
            why: "mirror".into(),
            at_ms: 1_700_000_000_000,
            undone: true,
        });
    }
}
