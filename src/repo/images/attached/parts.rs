//! Manifests with a subject that came as parts of an index. Buildkit lists an attestation in the index of its image, and the
//! attestation names the image as its subject: with each build there is one more of them, and the subject alone would keep
//! them all. What came as a part ends when no index that is kept lists it any more; what was pushed for its own sake stays
//! as long as its subject. An index that lists a manifest and not its subject is a list of referrers, and takes nothing with it.
//!
//! Owns the mark (a mention of class [`Class::Part`](crate::repo::rows::keys::Class::Part)); ends nothing itself.

use crate::repo::format::{Child, Inspected};
use crate::repo::images::batch::MANIFEST_ROWS;
use crate::repo::images::edit::NewManifest;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::ItemRecord;
use crate::repo::rows::{live, number};
use crate::store::{Get, StoreError, Table, Txn};
use crate::types::{Digest, RepoId};
use std::collections::HashSet;

/// An index follows its parts within this time (running ms), and within a lease: they are pushed first, one after the other.
const FOLLOWS_MS: u64 = 60 * 60 * 1000;
/// An index of more manifests than this is no build's, and has no parts: looking for them takes two rows each, and marking
/// them one. Nor has one that names so much beside them that there is no room for the marks.
const LISTED_MAX: usize = 1000;
/// So many of those that name a manifest are looked at for its subject.
const PARENTS: usize = 16;
/// The value of the mention of a part. One that was pushed for its own sake so far has the time of that (running ms).
const IS_PART: &[u8] = &[];

/// The most rows that [`came`] writes for a manifest.
pub(in crate::repo) fn rows(inspected: &Inspected) -> usize {
    listed(inspected).count() + 1
}

/// What an index lists and may have come with it.
fn listed(inspected: &Inspected) -> impl Iterator<Item = &Child> {
    let listed = || inspected.children.iter().filter(|c| c.is_listed);
    let (count, all) = (listed().count(), inspected.children.len());
    let most = if count > LISTED_MAX || count + all > MANIFEST_ROWS {
        0
    } else {
        LISTED_MAX
    };
    listed().take(most)
}

/// A manifest was put. If it has a subject, that says whether it came as a part: `was_wanted` by what came before it and names
/// it and its subject. If it lists others, those that were pushed just before and whose subject it lists, too, are its parts.
pub(in crate::repo) fn came(
    tx: &mut Txn<'_>,
    id: RepoId,
    new: &NewManifest,
    was_wanted: bool,
    lease_ms: u64,
) -> Result<(), StoreError> {
    let within = FOLLOWS_MS.min(lease_ms);
    let now = tx.running_ms();
    if let Some(subject) = &new.inspected.subject {
        let at = now.to_be_bytes();
        let is_part = was_wanted && is_beside_its_subject(tx, id, &new.digest, subject)?;
        let value = if is_part { IS_PART } else { &at };
        tx.put(Table::Mentions, &keys::part(&new.digest, id), value)?;
    }
    let beside: HashSet<&[u8]> = listed(&new.inspected).map(|c| c.digest.as_key()).collect();
    for child in listed(&new.inspected) {
        let key = keys::part(&child.digest, id);
        let pushed = tx.get(Table::Mentions, &key)?;
        if pushed.is_some_and(|at| at != IS_PART && number(&at) + within > now)
            && let Some((_, item)) = live(tx, id, &Name::manifest(&child.digest))?
            && beside.contains(item.own.as_slice())
        {
            tx.put(Table::Mentions, &key, IS_PART)?;
        }
    }
    Ok(())
}

/// Whether a live index that names the manifest names its subject, too: with one that was closed before the manifest came it
/// did not come, whatever keeps that index. One that names nothing but what refers to a manifest is a
/// list of that, and no image of which they would be parts.
fn is_beside_its_subject(
    get: &impl Get,
    id: RepoId,
    digest: &Digest,
    subject: &Digest,
) -> Result<bool, StoreError> {
    let (from, to) = keys::refs_in(digest, id, Class::Manifest).range();
    for (key, _) in get.scan(Table::Refs, &from, &to, PARENTS)? {
        let parent = keys::ref_head(&key).and_then(|(_, _, rest)| keys::parent_of(rest));
        let Some((parent, rev)) = parent.filter(|(parent, _)| parent != digest) else {
            continue;
        };
        let is_live =
            live(get, id, &Name::manifest(&parent))?.is_some_and(|(added, _)| added == rev);
        if !is_live {
            continue;
        }
        for class in [Class::Manifest, Class::Wanted] {
            let names = keys::manifest_ref(subject, id, class, &parent, rev);
            if get.get(keys::table(class), &names)?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether the value of its mention says that a manifest is a part.
pub(in crate::repo) fn is_part(value: &[u8]) -> bool {
    value == IS_PART
}

/// Whether its live subject keeps a manifest.
pub(in crate::repo) fn is_kept_by_subject(
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
    Ok(!is_part && live(get, id, &Name::manifest(&subject))?.is_some())
}

/// Drops what is only mentioned of a manifest that is gone: its lease, and how it came.
pub(in crate::repo) fn forget(
    tx: &mut Txn<'_>,
    id: RepoId,
    digest: &Digest,
) -> Result<(), StoreError> {
    tx.delete(Table::Mentions, &keys::held(digest, id))?;
    tx.delete(Table::Mentions, &keys::part(digest, id))
}
