//! What a manifest of the past stands on: everything below it that has gone from the head since.

use crate::repo::bounded::left;
use crate::repo::error::RepoError;
use crate::repo::format::Inspected;
use crate::repo::images::edit::NewManifest;
use crate::repo::images::read;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::ItemRecord;
use crate::repo::{Inner, rows};
use crate::store::{Get, Read, Table, Txn};
use crate::types::{Digest, RepoId, Rev, Tag};
use std::collections::HashSet;
use std::sync::Arc;

/// Manifests below one tag that a restore takes on.
const CLOSURE_MAX: usize = 20_000;
/// Digests below one tag that a restore looks at.
const DIGESTS_MAX: usize = 400_000;
/// Bytes of manifests that one hop reads, about.
const HOP_BYTES: usize = 8 << 20;

pub(super) fn gone(digest: &Digest) -> RepoError {
    RepoError::Refused(format!(
        "the bytes of {digest} are gone or damaged, so what the tag meant cannot be restored"
    ))
}

/// Checks that what a manifest names is still here, and shows it again where it is a blob that was deleted by hand since. What
/// the repository never had is not granted by naming it.
pub(super) fn relink(
    tx: &mut Txn<'_>,
    id: RepoId,
    children: &[Digest],
    lease_ms: u64,
) -> Result<(), RepoError> {
    let were_manifests = were_manifests(tx, id, children)?;
    let needed = |child: &Digest| keys::refs_in(child, id, Class::Manifest).range();
    let needed: Vec<_> = children.iter().map(needed).collect();
    let needed = tx.first_many(Table::Refs, &needed)?;
    for ((child, was_manifest), needed) in children.iter().zip(were_manifests).zip(needed) {
        if was_manifest || needed.is_none() {
            continue;
        }
        let blob = rows::blob(tx, child)?.ok_or_else(|| gone(child))?;
        if tx.get(Table::Refs, &keys::link(child, id))?.is_none() {
            rows::link(tx, id, child, blob.size, lease_ms)?;
        }
    }
    Ok(())
}

/// Whether each digest is, or was, a manifest of the repository: such a one comes back as an item.
fn were_manifests(get: &impl Get, id: RepoId, digests: &[Digest]) -> Result<Vec<bool>, RepoError> {
    let mut were = vec![false; digests.len()];
    for past in [false, true] {
        let span = |digest| keys::item_rows(id, &Name::manifest(digest), past).range();
        let spans: Vec<_> = digests.iter().map(span).collect();
        let found = get.first_many(Table::Items, &spans)?;
        for (were, found) in were.iter_mut().zip(found) {
            *were |= found.is_some();
        }
    }
    Ok(were)
}

/// The manifests to put back, children before parents, on their way from hop to hop.
#[derive(Clone)]
pub(super) struct Closure {
    /// What is to be looked at: a manifest, its tags, and whether those below it were looked at.
    open: Vec<(Digest, Vec<Tag>, bool)>,
    seen: HashSet<Digest>,
    entered: usize,
    pub found: Vec<Arc<NewManifest>>,
}

impl Closure {
    /// Of these manifests, each with the tags that are to mean it.
    pub fn of(tops: Vec<(Digest, Vec<Tag>)>) -> Self {
        let seen = tops.iter().map(|(top, _)| *top).collect();
        let tops = tops.into_iter();
        Self {
            open: tops.map(|(top, tags)| (top, tags, false)).collect(),
            seen,
            entered: 0,
            found: Vec::new(),
        }
    }

    /// Goes on for one hop; whether all was found.
    pub fn go_on(
        &mut self,
        inner: &Inner,
        r: &Read<'_>,
        (id, rev): (RepoId, Rev),
    ) -> Result<bool, RepoError> {
        let mut bytes_read = 0;
        // Digests make no circles, and each is taken once: the depth is bounded by the number.
        while left(r) > 0
            && bytes_read <= HOP_BYTES
            && let Some((digest, tags, entered)) = self.open.pop()
        {
            let Some(item) = item(r, (id, rev), &digest)? else {
                continue;
            };
            let bytes = read::read_bytes(inner, r, &digest)?;
            bytes_read += bytes.len();
            let inspected = read::inspect(inner, &bytes, &item.media_type)
                .ok_or_else(|| RepoError::ManifestInvalid(format!("{digest} cannot be read")))?;
            if entered {
                self.found.push(Arc::new(NewManifest {
                    digest,
                    size: item.size,
                    inspected,
                    source: item.source,
                    tags,
                }));
            } else {
                self.enter(digest, tags, &inspected)?;
            }
        }
        Ok(self.open.is_empty())
    }

    fn enter(
        &mut self,
        digest: Digest,
        tags: Vec<Tag>,
        inspected: &Inspected,
    ) -> Result<(), RepoError> {
        self.entered += 1;
        if self.entered > CLOSURE_MAX || self.seen.len() > DIGESTS_MAX {
            return Err(RepoError::Refused(format!(
                "more than {CLOSURE_MAX} manifests, or {DIGESTS_MAX} digests, are below this tag"
            )));
        }
        self.open.push((digest, tags, true));
        // Any of them may be a manifest, whatever the field: what is none is passed over when its turn comes.
        for child in &inspected.children {
            if self.seen.insert(child.digest) {
                self.open.push((child.digest, Vec::new(), false));
            }
        }
        Ok(())
    }
}

/// The manifest as it is now, else as it was then.
fn item(
    r: &Read<'_>,
    (id, rev): (RepoId, Rev),
    digest: &Digest,
) -> Result<Option<ItemRecord>, RepoError> {
    let name = Name::manifest(digest);
    let found = match rows::live(r, id, &name)? {
        Some(found) => Some(found),
        None => rows::at(r, id, &name, rev)?,
    };
    Ok(found.map(|(_, item)| item))
}
