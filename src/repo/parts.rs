//! Manifests with a subject that came as parts of an index. Buildkit lists an attestation in the index of its image, and the
//! attestation names the image as its subject: with each build there is one more of them, and the subject alone would keep
//! them all. What came as a part ends when no index that is kept lists it any more; what was pushed for its own sake stays
//! as long as its subject.
//!
//! Owns the mark (a mention of class [`Class::Part`](super::keys::Class::Part)); ends nothing itself.

use super::change::NewManifest;
use super::keys::{self, Name};
use super::record::ItemRecord;
use super::rows::{live, number};
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, RepoId};

/// An index follows its parts within this time (running ms): they are pushed first, and one after the other.
const FOLLOWS_MS: u64 = 60 * 60 * 1000;

/// A manifest was put. If it has a subject, that says whether it came as a part: `was_wanted` by an index that came before
/// it. If it lists others, those with a subject that came just before are its parts. Looks at two rows for each one listed.
pub(super) fn came(
    tx: &mut Txn<'_>,
    id: RepoId,
    new: &NewManifest,
    was_wanted: bool,
    lease_ms: u64,
) -> Result<(), StoreError> {
    if new.inspected.subject.is_some() {
        let key = keys::part(&new.digest, id);
        if was_wanted {
            tx.put(Table::Mentions, &key, &[])?;
        } else {
            tx.delete(Table::Mentions, &key)?;
        }
    }
    for child in new.inspected.children.iter().filter(|c| c.is_listed) {
        let Some((_, item)) = live(tx, id, &Name::Manifest(&child.digest))? else {
            continue;
        };
        if !item.own.is_empty() && came_lately(tx, id, &child.digest, lease_ms)? {
            tx.put(Table::Mentions, &keys::part(&child.digest, id), &[])?;
        }
    }
    Ok(())
}

/// Whether its lease says that it was pushed without a tag a short time ago.
fn came_lately(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
    lease_ms: u64,
) -> Result<bool, StoreError> {
    let end = get.get(Table::Mentions, &keys::held(digest, id))?;
    let now = get.running_ms();
    Ok(end.is_some_and(|end| {
        let end = number(&end);
        end > now && end + FOLLOWS_MS > now + lease_ms
    }))
}

/// Whether its live subject keeps a manifest.
pub(super) fn is_kept_by_subject(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
    item: &ItemRecord,
) -> Result<bool, StoreError> {
    let Ok(subject) = Digest::from_key(&item.own) else {
        return Ok(false);
    };
    Ok(live(get, id, &Name::Manifest(&subject))?.is_some()
        && get.get(Table::Mentions, &keys::part(digest, id))?.is_none())
}

/// Drops what is only mentioned of a manifest that is gone: its lease, and that it came as a part.
pub(super) fn forget(tx: &mut Txn<'_>, id: RepoId, digest: &Digest) -> Result<(), StoreError> {
    tx.delete(Table::Mentions, &keys::held(digest, id))?;
    tx.delete(Table::Mentions, &keys::part(digest, id))
}
