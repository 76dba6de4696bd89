//! Back in time: a tag restored to what it meant, with everything below it that has gone from the head since.
//!
//! Nothing is restored that the history does not keep: a revision before the repository's horizon is refused.

use crate::repo::bounded::{is_spent, left};
use crate::repo::edit::Edit;
use crate::repo::error::RepoError;
use crate::repo::format::Inspected;
use crate::repo::images::batch::{self, Filling};
use crate::repo::images::edit::NewManifest;
use crate::repo::images::manifest;
use crate::repo::images::read;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::readable;
use crate::repo::{Inner, Repos, rows};
use crate::store::{Get, Need, Read, StoreError, Table, Txn};
use crate::types::{Digest, Kind, RepoId, RepoName, Rev, Tag};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Manifests below one tag that a restore takes on.
const CLOSURE_MAX: usize = 20_000;
/// Digests below one tag that a restore looks at.
const DIGESTS_MAX: usize = 400_000;
/// Bytes of manifests that one hop reads, about.
const HOP_BYTES: usize = 8 << 20;

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
        let step = move |inner: &Inner, r: &Read<'_>, state: &mut Option<Closure>| {
            let (id, record) = crate::repo::visible(r, wanted.as_str(), Kind::Oci)?
                .ok_or(RepoError::NameUnknown(wanted.clone()))?;
            readable(r, id, &record, rev)?;
            let mut closure = if let Some(closure) = state.take() {
                closure
            } else {
                let item = rows::at(r, id, &Name::tag(what.as_str()), rev)?;
                let digest = item.and_then(|(_, item)| item.digest());
                let digest = digest.ok_or_else(|| {
                    RepoError::ManifestUnknown(format!("{what} at revision {}", rev.0))
                })?;
                Closure::of(vec![(digest, vec![what.clone()])])
            };
            if closure.go_on(inner, r, (id, rev))? {
                return Ok(Some(closure));
            }
            *state = Some(closure);
            Ok(None)
        };
        let closure = self
            .long_read(|inner| &inner.searches, None, None, step)
            .await?;
        // The tag's own manifest comes last.
        let digest = closure.found.last().map(|new| new.digest);
        let digest = digest.ok_or_else(|| RepoError::ManifestUnknown(tag.to_string()))?;
        let quotas = self.quotas_above(name).await?;
        let (mut batch, mut filling) = (Vec::new(), Filling::default());
        for new in closure.found {
            let cost = batch::cost(&new, quotas) + batch::cost_of_links(&new, quotas);
            if !filling.takes(cost) {
                self.put_back(name, std::mem::take(&mut batch), who).await?;
            }
            batch.push(new);
        }
        self.put_back(name, batch, who).await?;
        Ok(digest)
    }

    async fn put_back(
        &self,
        name: &RepoName,
        batch: Vec<Arc<NewManifest>>,
        who: &str,
    ) -> Result<(), RepoError> {
        let batch = Arc::new(batch);
        let done = batch::commit_in_parts(batch.len(), |part| {
            let batch = &batch;
            async move {
                let once = || self.put_back_once(name, Arc::clone(batch), part.clone(), who);
                match once().await {
                    // The links alone are too many, with what quotas count of them: they come first, in steps.
                    Err(RepoError::Store(StoreError::TooMany(_))) if part.len() == 1 => {
                        self.relink_in_steps(name, &batch[part.start], who).await?;
                        once().await
                    }
                    done => done,
                }
            }
        });
        done.await.map_err(|(_, error)| error)
    }

    async fn put_back_once(
        &self,
        name: &RepoName,
        batch: Arc<Vec<Arc<NewManifest>>>,
        part: Range<usize>,
        who: &str,
    ) -> Result<(), RepoError> {
        let context = self.context(who, "tag.restore");
        let wanted = name.clone();
        let change = self.change(name, Need::Grows, "tag.restore", move |tx| {
            let (id, record) = manifest::writable(tx, &wanted)?;
            for new in &batch[part.clone()] {
                for child in &new.inspected.children {
                    relink(tx, id, &child.digest, context.lease_ms)?;
                }
                rows::blob(tx, &new.digest)?.ok_or_else(|| gone(&new.digest))?;
            }
            let mut change = Edit::open(tx, id, record, &context)?;
            for new in &batch[part.clone()] {
                change.put_manifest(new)?;
            }
            change.finish()?;
            Ok(())
        });
        change.await
    }

    /// Shows again what a manifest names, as much in one transaction as it may look at the rows of. A lease keeps it until
    /// the manifest follows.
    async fn relink_in_steps(
        &self,
        name: &RepoName,
        new: &Arc<NewManifest>,
        who: &str,
    ) -> Result<(), RepoError> {
        let lease_ms = self.context(who, "tag.restore").lease_ms;
        let mut from = 0;
        while from < new.inspected.children.len() {
            let (wanted, new) = (name.clone(), Arc::clone(new));
            let step = self.change(name, Need::Grows, "tag.restore", move |tx| {
                let (id, _) = manifest::writable(tx, &wanted)?;
                let children = new.inspected.children.iter().enumerate().skip(from);
                for (at, child) in children {
                    if at > from && is_spent(tx) {
                        return Ok(at);
                    }
                    relink(tx, id, &child.digest, lease_ms)?;
                }
                Ok(new.inspected.children.len())
            });
            from = step.await?;
        }
        Ok(())
    }
}

pub(in crate::repo) fn gone(digest: &Digest) -> RepoError {
    RepoError::Refused(format!(
        "the bytes of {digest} are gone or damaged, so what the tag meant cannot be restored"
    ))
}

/// Checks that what a manifest names is still here, and shows it again if it is a blob that was deleted by hand since. What
/// the repository never had is not granted by naming it.
pub(in crate::repo) fn relink(
    tx: &mut Txn<'_>,
    id: RepoId,
    child: &Digest,
    lease_ms: u64,
) -> Result<(), RepoError> {
    if was_manifest(tx, id, child)? {
        return Ok(());
    }
    let (from, to) = keys::refs_in(child, id, Class::Manifest).range();
    if tx.scan(Table::Refs, &from, &to, 1)?.is_empty() {
        return Ok(());
    }
    let blob = rows::blob(tx, child)?.ok_or_else(|| gone(child))?;
    if tx.get(Table::Refs, &keys::link(child, id))?.is_none() {
        rows::link(tx, id, child, blob.size, lease_ms)?;
    }
    Ok(())
}

/// Whether the digest is, or was, a manifest of the repository: such a one comes back as an item.
fn was_manifest(get: &impl Get, id: RepoId, digest: &Digest) -> Result<bool, RepoError> {
    for past in [false, true] {
        let (from, to) = keys::item_rows(id, &Name::manifest(digest), past).range();
        if !get.scan(Table::Items, &from, &to, 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The manifests to put back, children before parents, on their way from hop to hop.
#[derive(Clone)]
pub(in crate::repo) struct Closure {
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
