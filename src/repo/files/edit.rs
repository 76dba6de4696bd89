//! Files in an [`Edit`], in the caller's transaction.

use super::rules::came;
use super::{Filed, NewFile, When};
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::live;
use crate::repo::rows::record::{ItemRecord, SourceRecord};
use crate::repo::stage;
use crate::store::record::Record;
use crate::store::{Get, StoreError, Table};
use crate::types::{Digest, FilePath, RepoId, Rev};

/// Refuses a file that would not be taken, as far as that can be seen before its bytes come.
pub(super) fn expected(get: &impl Get, id: RepoId, new: &NewFile) -> Result<(), RepoError> {
    if stage::staged_rev(get, id)?.is_some() {
        // What is there is about to change: the commit waits for that.
        return Ok(());
    }
    let is = live(get, id, &Name::path(&new.path))?;
    let is = is.and_then(|(_, item)| item.digest());
    new.when.check(&new.path, is.as_ref())
}

impl Edit<'_, '_> {
    /// Makes bytes a file, in place of the one that is there. The blob's row is written.
    pub(in crate::repo) fn put_file(
        &mut self,
        new: &NewFile,
        digest: &Digest,
        size: u64,
    ) -> Result<Filed, RepoError> {
        let name = Name::path(&new.path);
        self.free(&new.path)?;
        let before = live(self.tx, self.id, &name)?;
        let is = before.as_ref().and_then(|(_, item)| item.digest());
        new.when.check(&new.path, is.as_ref())?;
        let is_new = before.is_none();
        let mut filed = Filed {
            digest: *digest,
            size,
            modified_ms: 0,
            is_new,
        };
        match before {
            Some((_, item)) if item.digest() == Some(*digest) => {
                filed.modified_ms = item.at_ms;
                return Ok(filed);
            }
            Some((added, item)) => {
                filed.modified_ms = self.moved(Some(item.at_ms));
                self.close(&name, added, item)?;
            }
            None => filed.modified_ms = self.moved(self.last_moved(&name)?),
        }
        let item = ItemRecord {
            removed: Rev::NEVER.0,
            target: digest.as_key().to_vec(),
            size,
            media_type: String::new(),
            source: SourceRecord::Push(new.who.clone()),
            at_ms: filed.modified_ms,
            own: Vec::new(),
            artifact_type: String::new(),
        };
        self.put(&name, &item)?;
        let own = keys::item_ref(digest, self.id, &name, self.rev);
        came(self.tx, self.id, digest, size, &own)?;
        Ok(filed)
    }

    /// Removes a file. A condition that needs a file does not hold where none is (RFC 9110 section 13.1.1).
    pub(in crate::repo) fn delete_file(
        &mut self,
        path: &FilePath,
        when: &When,
    ) -> Result<(), RepoError> {
        let name = Name::path(path);
        let found = live(self.tx, self.id, &name)?;
        let is = found.as_ref().and_then(|(_, item)| item.digest());
        when.check(path, is.as_ref())?;
        let Some((added, item)) = found else {
            return Err(RepoError::PathUnknown(path.to_string()));
        };
        Ok(self.close(&name, added, item)?)
    }

    /// Refuses a path where a folder is, or below a file.
    fn free(&self, path: &FilePath) -> Result<(), RepoError> {
        let taken = |taken: &str, is_file| {
            Err(RepoError::PathTaken {
                path: path.to_string(),
                taken: taken.to_owned(),
                is_file,
            })
        };
        for folder in path.folders() {
            if live(self.tx, self.id, &Name::new(Class::Path, folder.as_bytes()))?.is_some() {
                return taken(folder, true);
            }
        }
        let below = keys::items(self.id, Class::Path, false);
        let (from, to) = below.raw(path.as_str().as_bytes()).raw(b"/").range();
        if self.tx.scan(Table::Items, &from, &to, 1)?.is_empty() {
            return Ok(());
        }
        taken(path.as_str(), false)
    }

    /// When the file that this path meant last had come (wall clock, ms).
    fn last_moved(&self, name: &Name<'_>) -> Result<Option<u64>, StoreError> {
        let (from, to) = keys::item_rows(self.id, name, true).range();
        let last = self.tx.scan(Table::Items, &from, &to, 1)?.pop();
        let last = last.map(|(_, row)| ItemRecord::from_bytes(&row));
        Ok(last.transpose()?.map(|item| item.at_ms))
    }

    /// The time of a change: in whole seconds, as `Last-Modified` says it, it is later than the one before.
    fn moved(&self, before: Option<u64>) -> u64 {
        let least = before.map_or(0, |before| (before / 1000 + 1) * 1000);
        self.context.at_ms.max(least)
    }
}
