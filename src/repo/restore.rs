//! Back in time: a tag restored to what it meant, with everything below it that has gone from the head since.
//!
//! Nothing is restored that the history does not keep: a revision before the repository's horizon is refused.

use super::change::{Change, NewManifest};
use super::error::RepoError;
use super::keys::{self, Class, Name};
use super::manifest::{self, CLOSURE_ROWS};
use super::record::{ItemRecord, RepoRecord};
use super::{Inner, Repos, read, rows};
use crate::store::{Get, Need, Read, Table, Txn};
use crate::types::{Digest, RepoId, RepoName, Rev, Tag};
use std::collections::HashSet;

/// Manifests below one tag that a restore takes on.
const CLOSURE_MAX: usize = 20_000;

impl Repos {
    /// Makes a tag mean again what it meant at a revision, in a new revision; answers the digest. Manifests below it
    /// that were removed since come back with it, children first; the tag moves last.
    pub async fn restore_tag(
        &self,
        name: &RepoName,
        tag: &Tag,
        rev: Rev,
        who: &str,
    ) -> Result<Digest, RepoError> {
        let (wanted, what) = (name.clone(), tag.clone());
        let (digest, closure) = self
            .hop(move |inner, r| {
                let (id, record) = super::visible(r, wanted.as_str())?
                    .ok_or(RepoError::NameUnknown(wanted.clone()))?;
                readable(&record, rev)?;
                let item = rows::at(r, id, &Name::Tag(what.as_str()), rev)?;
                let digest = item.and_then(|(_, item)| item.digest());
                let digest = digest.ok_or_else(|| {
                    RepoError::ManifestUnknown(format!("{what} at revision {}", rev.0))
                })?;
                let mut closure = Closure {
                    inner,
                    read: r,
                    id,
                    rev,
                    seen: HashSet::new(),
                    found: Vec::new(),
                };
                closure.take(&digest, vec![what.clone()])?;
                Ok((digest, closure.found))
            })
            .await?;
        let mut batch = Vec::new();
        let mut cost = 0;
        for new in closure {
            let own = 4 * new.inspected.children.len() + 20;
            if cost + own > CLOSURE_ROWS && !batch.is_empty() {
                self.put_back(name, std::mem::take(&mut batch), who).await?;
                cost = 0;
            }
            cost += own;
            batch.push(new);
        }
        self.put_back(name, batch, who).await?;
        Ok(digest)
    }

    async fn put_back(
        &self,
        name: &RepoName,
        batch: Vec<NewManifest>,
        who: &str,
    ) -> Result<(), RepoError> {
        let context = self.context(who, "tag.restore");
        let wanted = name.clone();
        let change = self.change(name, Need::Grows, "tag.restore", move |tx| {
            let (id, record) = manifest::writable(tx, &wanted)?;
            for new in &batch {
                relink(tx, id, new, context.lease_ms)?;
            }
            let mut change = Change::open(tx, id, record, &context);
            for new in &batch {
                change.put_manifest(new)?;
            }
            change.finish()?;
            Ok(())
        });
        change.await
    }
}

/// Refuses a revision that is to come, or that the history no longer keeps.
pub(super) fn readable(record: &RepoRecord, rev: Rev) -> Result<(), RepoError> {
    if rev.0 > record.head {
        return Err(RepoError::Refused(format!(
            "{} is at revision {}; there is no revision {} yet",
            record.name, record.head, rev.0
        )));
    }
    if rev.0 < record.horizon {
        return Err(RepoError::Refused(format!(
            "the history of {} is kept from revision {} on; revision {} is gone. Keep it longer with: dryport repo set {} --history-keep TIME",
            record.name, record.horizon, rev.0, record.name
        )));
    }
    Ok(())
}

/// Checks that what a manifest needs is still here, and shows again the blobs that were deleted by hand since. What the
/// repository never had is not granted by naming it.
fn relink(tx: &mut Txn<'_>, id: RepoId, new: &NewManifest, lease_ms: u64) -> Result<(), RepoError> {
    let gone = |digest: &Digest| {
        RepoError::Refused(format!(
            "the bytes of {digest} are gone or damaged, so what the tag meant cannot be restored"
        ))
    };
    rows::blob(tx, &new.digest)?.ok_or_else(|| gone(&new.digest))?;
    for child in new.inspected.children.iter().filter(|c| !c.is_manifest) {
        let (from, to) = keys::refs_in(&child.digest, id, Class::Manifest).range();
        let held = !tx.scan(Table::Refs, &from, &to, 1)?.is_empty();
        if !held {
            continue;
        }
        let blob = rows::blob(tx, &child.digest)?.ok_or_else(|| gone(&child.digest))?;
        if tx
            .get(Table::Refs, &keys::link(&child.digest, id))?
            .is_none()
        {
            rows::link(tx, id, &child.digest, blob.size, lease_ms)?;
        }
    }
    Ok(())
}

/// The manifests to put back, children before parents.
struct Closure<'a, 'r> {
    inner: &'a Inner,
    read: &'a Read<'r>,
    id: RepoId,
    rev: Rev,
    seen: HashSet<Digest>,
    found: Vec<NewManifest>,
}

impl Closure<'_, '_> {
    fn take(&mut self, digest: &Digest, tags: Vec<Tag>) -> Result<(), RepoError> {
        // Digests make no circles, and each is taken once: the depth is bounded by the number.
        let mut open = vec![(*digest, tags, false)];
        while let Some((digest, tags, entered)) = open.pop() {
            let Some(item) = self.item(&digest)? else {
                continue;
            };
            let bytes = read::read_bytes(self.inner, self.read, &digest)?;
            let inspected = read::inspect(self.inner, &bytes, &item.media_type)
                .ok_or_else(|| RepoError::ManifestInvalid(format!("{digest} cannot be read")))?;
            if entered {
                self.found.push(NewManifest {
                    digest,
                    size: item.size,
                    inspected,
                    source: item.source,
                    tags,
                });
                continue;
            }
            if self.seen.len() >= CLOSURE_MAX {
                return Err(RepoError::Refused(format!(
                    "more than {CLOSURE_MAX} manifests are below this tag"
                )));
            }
            let children: Vec<Digest> = inspected
                .children
                .iter()
                .filter(|c| c.is_manifest)
                .map(|c| c.digest)
                .collect();
            open.push((digest, tags, true));
            for child in children {
                if self.seen.insert(child) {
                    open.push((child, Vec::new(), false));
                }
            }
        }
        Ok(())
    }

    /// The manifest as it is now, else as it was then.
    fn item(&self, digest: &Digest) -> Result<Option<ItemRecord>, RepoError> {
        let name = Name::Manifest(digest);
        let found = match rows::live(self.read, self.id, &name)? {
            Some(found) => Some(found),
            None => rows::at(self.read, self.id, &name, self.rev)?,
        };
        Ok(found.map(|(_, item)| item))
    }
}
