//! The list of what refers to a manifest goes with the manifest: the tag is removed as by a person, and the history keeps
//! what it meant.

use super::plan::StepPlan;
use super::step::Step;
use crate::repo::edit::{Context, Edit};
use crate::repo::error::RepoError;
use crate::repo::images::lists::{Looked, look};
use crate::repo::rows;
use crate::repo::rows::keys::Name;
use crate::repo::rows::record::RepoRecord;
use crate::store::Txn;
use crate::types::{AttachedTag, Digest, RepoId};

impl StepPlan<'_, '_> {
    /// A part of the look at a list whose manifest was closed, behind those entries that `from` says; answers where the next
    /// part begins. A tag that may be meant otherwise stays.
    pub(super) fn list(
        &mut self,
        key: &[u8],
        at: u64,
        (id, subject): (RepoId, Digest),
        from: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, RepoError> {
        if at > self.now {
            return Ok(None);
        }
        let tag = AttachedTag::list_of(&subject);
        let is_there = self.record(id)?.is_some_and(|record| !record.deleted);
        let kind = AttachedTag::read(&tag).filter(|_| is_there);
        let back = rows::live(self.read, id, &Name::manifest(&subject))?.is_some();
        let item = rows::live(self.read, id, &Name::tag(&tag))?.filter(|_| !back);
        let found = item.and_then(|(_, item)| Some((item.digest()?, item)));
        let (Some((digest, item)), Some(kind)) = (found, kind) else {
            self.done(key)?;
            return Ok(None);
        };
        self.bytes += item.size;
        let seen = from.map_or(0, |from| seen_of(&from, &digest));
        let looked = look(self.inner, self.read, id, (&kind, &item), seen, || {
            self.is_full()
        });
        match looked? {
            Looked::SoFar(seen) => {
                let seen = (seen as u64).to_be_bytes();
                return Ok(Some([digest.as_key(), &seen].concat()));
            }
            Looked::List => self.push(Step::List {
                key: key.into(),
                id,
                subject,
                tag,
                digest,
            })?,
            Looked::Other => self.done(key)?,
        }
        Ok(None)
    }
}

/// How many entries of this manifest were seen; of another one none were.
fn seen_of(from: &[u8], digest: &Digest) -> usize {
    let rest = from.strip_prefix(digest.as_key());
    let seen = rest.and_then(|rest| rest.try_into().ok());
    seen.map_or(0, |seen| u64::from_be_bytes(seen) as usize)
}

/// Removes the tag if it means that list still and the manifest has not come back; whether it did.
pub(super) fn end_list(
    tx: &mut Txn<'_>,
    (id, record): (RepoId, RepoRecord),
    subject: &Digest,
    (tag, digest): (&str, &Digest),
    context: &Context,
) -> Result<bool, RepoError> {
    if rows::live(tx, id, &Name::manifest(subject))?.is_some() {
        return Ok(false);
    }
    let means = rows::live(tx, id, &Name::tag(tag))?.and_then(|(_, item)| item.digest());
    if means != Some(*digest) {
        return Ok(false);
    }
    let mut change = Edit::open(tx, id, record, context)?;
    change.delete_tag(tag)?;
    change.finish()?;
    Ok(true)
}
