//! What pushes a repository takes: the one place that every method of an upload, a mount and a pushed manifest ask,
//! before bytes come and again inside the transaction that decides.

use super::error::RepoError;
use super::home::Home;
use super::record::RepoRecord;
use super::{Origin, Repos, is_unborn, keys, rows};
use crate::store::record::Record;
use crate::store::{Get, Table, Txn};
use crate::types::{RepoId, RepoName};

/// What of a push a repository takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushes {
    /// Everything.
    All,
    /// Nothing: its content comes from elsewhere.
    Nothing,
}

impl Pushes {
    /// By the repository's row. A mirror whose first run never ended is nobody's yet: a push takes its name.
    pub fn of(record: &RepoRecord) -> Self {
        if record.origin == Origin::Local.code() || is_unborn(record) {
            Self::All
        } else {
            Self::Nothing
        }
    }

    /// Refuses a push of content; `name` is for the error.
    fn admit(self, name: &RepoName) -> Result<(), RepoError> {
        match self {
            Self::All => Ok(()),
            Self::Nothing => Err(RepoError::ReadOnly(name.clone())),
        }
    }
}

/// The repository that a name means to pushes; `None` if the first push makes it. A mirror refuses.
pub(super) fn home(
    get: &impl Get,
    name: &RepoName,
) -> Result<Option<(RepoId, RepoRecord)>, RepoError> {
    let Some((id, record)) = rows::find(get, name.as_str())? else {
        return Ok(None);
    };
    Pushes::of(&record).admit(name)?;
    Ok((!is_unborn(&record)).then_some((id, record)))
}

/// The repository of a push, made if it is not there; a mirror refuses. One whose first mirror run never ended becomes
/// local.
pub(super) fn home_or_new(
    tx: &mut Txn<'_>,
    name: &RepoName,
    at_ms: u64,
) -> Result<(RepoId, RepoRecord), RepoError> {
    if let Some(found) = home(tx, name)? {
        return Ok(found);
    }
    let local = Origin::Local.code();
    let Some((id, mut record)) = rows::find(tx, name.as_str())? else {
        return rows::create(tx, name, local, at_ms);
    };
    record.origin = local;
    tx.put(Table::Repos, &keys::repo(id), &record.to_bytes()?)?;
    Ok((id, record))
}

/// Refuses the bytes of an upload that was begun for `repo`, unless the name still means just that repository and it
/// takes pushes: one that was deleted meanwhile, and perhaps made anew, has nothing of it.
pub(super) fn same_home(get: &impl Get, name: &RepoName, repo: RepoId) -> Result<(), RepoError> {
    match home(get, name)? {
        Some((id, _)) if id == repo => Ok(()),
        _ => Err(RepoError::UploadUnknown),
    }
}

impl Repos {
    /// Refuses a push into a mirror before its bytes come.
    pub async fn check_pushes(&self, name: &RepoName) -> Result<(), RepoError> {
        self.home_of(name).await.map(drop)
    }

    /// As [`home`], from memory where the name is known there.
    pub(super) async fn home_of(&self, name: &RepoName) -> Result<Option<Home>, RepoError> {
        if let Some(home) = self.0.homes.get(name) {
            return Ok(Some(home));
        }
        let generation = self.0.homes.generation(name);
        let wanted = name.clone();
        let found = self.hop(move |_, r| home(r, &wanted)).await?;
        Ok(found.map(|(id, _)| self.0.homes.found(name, id, generation)))
    }
}
