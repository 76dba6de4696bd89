//! What the plan of a revision drops whose history is over: the rows that it closed, with what they kept, and then the
//! changes that tell of them. A revision may have thousands of names: it is planned part by part, each in a read of its own.

use super::plan::{ITEMS, NAMES, StepPlan};
use super::step::Step;
use crate::repo::error::RepoError;
use crate::repo::images::read;
use crate::repo::rows::keys;
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::{is_pinned_within, next_pin};
use crate::store::record::Record;
use crate::store::{Get, Table};
use crate::types::{Digest, ItemName, RepoId, Rev};

/// Children that one step lets go; each costs up to six rows.
const CHILDREN: usize = 100;

impl StepPlan<'_, '_> {
    /// A part of a revision, from this change row on; answers where the next one begins.
    pub(super) fn history(
        &mut self,
        key: &[u8],
        at: u64,
        closed: u64,
        (id, rev): (RepoId, Rev),
        from: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, RepoError> {
        let Some(record) = self.record(id)?.filter(|r| !r.deleted) else {
            self.done(key)?;
            return Ok(None);
        };
        let is_first = from.is_none();
        let (start, to) = keys::change_names(id, rev);
        let rows = from.unwrap_or(start);
        let rows = self.read.scan(Table::Changes, &rows, &to, NAMES)?;
        let ends = closed + self.keep_ms(&record);
        if !self.purge && ends > self.now {
            self.tally.kept_by_history += rows.len() as u64;
            if is_first {
                self.later(key, at, ends, closed)?;
            }
            return Ok(next(&rows));
        }
        self.push(Step::Horizon { id, rev })?;
        let (mut names, mut dropped) = (Vec::with_capacity(rows.len()), 0);
        for (change, _) in &rows {
            let Some(name) = keys::name_of_change(change).map(|name| name.to_owned()) else {
                continue;
            };
            dropped += self.closed_by(&name, (id, rev))?;
            if dropped >= ITEMS {
                // There may be more of this name: its change goes with the part that finds none.
                self.push(Step::Tidy { id, rev, names })?;
                return Ok(Some(change.clone()));
            }
            names.push(name);
        }
        self.push(Step::Tidy { id, rev, names })?;
        match next(&rows) {
            None => {
                self.done(key)?;
                Ok(None)
            }
            next => Ok(next),
        }
    }

    /// A part of what a revision kept that nothing keeps any more, from this change row on; answers where the next one
    /// begins. What only it kept was closed before the next one that is kept, and by a revision whose history is over: the
    /// rest is planned when its time comes.
    pub(super) fn unpinned(
        &mut self,
        key: &[u8],
        (id, rev): (RepoId, Rev),
        from: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, RepoError> {
        let record = self.record(id)?.filter(|record| !record.deleted);
        let next_kept = next_pin(self.read, id, rev)?;
        let end = record.map(|record| {
            record
                .horizon
                .min(next_kept.map_or(u64::MAX, |next| next.0))
        });
        let Some(end) = end.filter(|end| *end > rev.0) else {
            self.done(key)?;
            return Ok(None);
        };
        let (start, _) = keys::change_names(id, Rev(rev.0 + 1));
        let to = keys::change_head(id, Rev(end + 1));
        let rows = from.unwrap_or(start);
        let rows = self.read.scan(Table::Changes, &rows, &to, NAMES)?;
        let mut tidied: Vec<(Rev, Vec<ItemName>)> = Vec::new();
        let (mut dropped, mut again) = (0, None);
        for (change, _) in &rows {
            let name = keys::name_of_change(change).map(|name| name.to_owned());
            let (Some(name), Some(closing)) = (name, keys::rev_of_change(change)) else {
                continue;
            };
            dropped += self.closed_by(&name, (id, closing))?;
            if dropped >= ITEMS {
                again = Some(change.clone());
                break;
            }
            match tidied.last_mut().filter(|(rev, _)| *rev == closing) {
                Some((_, names)) => names.push(name),
                None => tidied.push((closing, vec![name])),
            }
        }
        for (rev, names) in tidied {
            self.push(Step::Tidy { id, rev, names })?;
        }
        let next = again.or_else(|| next(&rows));
        if next.is_none() {
            self.done(key)?;
        }
        Ok(next)
    }

    /// The steps that drop what a revision closed under a name, and older rows of it; answers how many, and [`ITEMS`] where
    /// there may be more.
    fn closed_by(&mut self, name: &ItemName, (id, rev): (RepoId, Rev)) -> Result<usize, RepoError> {
        let mut dropped = 0;
        // What was closed by this revision was added before it; older rows of the name are found as well.
        let before = Rev(rev.0.saturating_sub(1));
        let from = keys::item(id, &name.as_name(), true, before);
        let (_, to) = keys::item_rows(id, &name.as_name(), true).range();
        for (key, value) in self.read.scan(Table::Items, &from, &to, ITEMS)? {
            let added = keys::added_of_item(&key);
            let item = ItemRecord::from_bytes(&value)?;
            if let Some(added) = added.filter(|_| item.removed <= rev.0)
                && !is_pinned_within(self.read, id, added, Rev(item.removed))?
            {
                self.item(id, name, true, added, &item, false)?;
                dropped += 1;
            }
            if self.is_full() {
                return Ok(ITEMS);
            }
        }
        Ok(dropped)
    }

    /// The steps that drop one item's row, with what it keeps let go first.
    pub(super) fn item(
        &mut self,
        id: RepoId,
        name: &ItemName,
        past: bool,
        added: Rev,
        item: &ItemRecord,
        at_once: bool,
    ) -> Result<(), RepoError> {
        if let Some(digest) = &name.as_name().as_manifest() {
            self.bytes += item.size;
            let children = self.children(digest, &item.media_type)?;
            for children in children.chunks(CHILDREN) {
                self.push(Step::Release {
                    id,
                    parent: *digest,
                    added,
                    children: children.to_vec(),
                    at_once,
                })?;
            }
        }
        self.push(Step::Row {
            id,
            name: name.clone(),
            past,
            added,
            at_once,
        })
    }

    /// What a removed manifest names; nothing if its bytes are not here, or damaged.
    pub(super) fn children(
        &self,
        digest: &Digest,
        media_type: &str,
    ) -> Result<Vec<Digest>, RepoError> {
        let read = read::bytes_if_whole(self.inner, self.read, digest)?;
        let inspected = read.and_then(|bytes| read::inspect(self.inner, &bytes, media_type));
        let Some(inspected) = inspected else {
            tracing::warn!(%digest, "a removed manifest cannot be read: what it named is found by `dryport check --repair`");
            return Ok(Vec::new());
        };
        Ok(inspected.children.iter().map(|c| c.digest).collect())
    }
}

/// Where the next part begins; none after a page that is not full.
fn next(rows: &[crate::store::Row]) -> Option<Vec<u8>> {
    let (last, _) = rows.last().filter(|_| rows.len() == NAMES)?;
    Some([last.as_slice(), &[0]].concat())
}
