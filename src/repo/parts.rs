//! Manifests with a subject that came as parts of an index. Buildkit lists an attestation in the index of its image, and the
//! attestation names the image as its subject: with each build there is one more of them, and the subject alone would keep
//! them all. What came as a part ends when no index that is kept lists it any more; what was pushed for its own sake stays
//! as long as its subject.
//!
//! Owns the mark (a mention of class [`Class::Part`](super::keys::Class::Part)); ends nothing itself.

use super::change::NewManifest;
use super::format::{Child, Inspected};
use super::keys::{self, Name};
use super::record::ItemRecord;
use super::rows::{live, number};
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, RepoId};

/// An index follows its parts within this time (running ms), and within a lease: they are pushed first, one after the other.
const FOLLOWS_MS: u64 = 60 * 60 * 1000;
/// An index of more manifests than this is no build's, and has no parts: looking for them takes two rows each, and marking
/// them one.
const LISTED_MAX: usize = 1000;
/// The value of the mention of a part. One that was pushed for its own sake so far has the time of that (running ms).
const IS_PART: &[u8] = &[];

/// The most rows that [`came`] writes for a manifest.
pub(super) fn rows(inspected: &Inspected) -> usize {
    listed(inspected).count() + 1
}

/// What an index lists and may have come with it.
fn listed(inspected: &Inspected) -> impl Iterator<Item = &Child> {
    let listed = || inspected.children.iter().filter(|c| c.is_listed);
    let most = if listed().count() > LISTED_MAX {
        0
    } else {
        LISTED_MAX
    };
    listed().take(most)
}

/// A manifest was put. If it has a subject, that says whether it came as a part: `was_wanted` by what came before it and names
/// it. If it lists others, those with a subject that were pushed just before are its parts.
pub(super) fn came(
    tx: &mut Txn<'_>,
    id: RepoId,
    new: &NewManifest,
    was_wanted: bool,
    lease_ms: u64,
) -> Result<(), StoreError> {
    let within = FOLLOWS_MS.min(lease_ms);
    let now = tx.running_ms();
    if new.inspected.subject.is_some() {
        let at = now.to_be_bytes();
        let value = if was_wanted { IS_PART } else { &at };
        tx.put(Table::Mentions, &keys::part(&new.digest, id), value)?;
    }
    for child in listed(&new.inspected) {
        let key = keys::part(&child.digest, id);
        let pushed = tx.get(Table::Mentions, &key)?;
        if pushed.is_some_and(|at| at != IS_PART && number(&at) + within > now) {
            tx.put(Table::Mentions, &key, IS_PART)?;
        }
    }
    Ok(())
}

/// Whether the value of its mention says that a manifest is a part.
pub(super) fn is_part(value: &[u8]) -> bool {
    value == IS_PART
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
    let mention = get.get(Table::Mentions, &keys::part(digest, id))?;
    let is_part = mention.is_some_and(|value| is_part(&value));
    Ok(!is_part && live(get, id, &Name::Manifest(&subject))?.is_some())
}

/// Drops what is only mentioned of a manifest that is gone: its lease, and how it came.
pub(super) fn forget(tx: &mut Txn<'_>, id: RepoId, digest: &Digest) -> Result<(), StoreError> {
    tx.delete(Table::Mentions, &keys::held(digest, id))?;
    tx.delete(Table::Mentions, &keys::part(digest, id))
}
