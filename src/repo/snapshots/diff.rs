//! What changed between two revisions of a repository: a range of its changes, whatever else it holds.

use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, Class, Name};
use crate::repo::rows::record::ItemRecord;
use crate::repo::shown::{At, Shown, any_shown};
use crate::repo::{Repos, rows};
use crate::store::{Get, Read, Table};
use crate::types::{Digest, ItemName, RepoId, RepoName, Rev};
use std::collections::HashSet;
use std::sync::Arc;

/// Changes read in one hop.
const CHANGES: usize = 1_000;
/// Names that one hop compares: each costs up to four looks.
const NAMES: usize = 400;
/// Manifests that one hop looks for names of: each may cost a few dozen looks.
const MANIFESTS: usize = 100;
/// Names that may have changed, at most: they are in memory at once.
const MOST: usize = 500_000;
/// References of a manifest that are looked at for one that names it.
const NAMED_BY: usize = 8;

/// An item of a difference.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct DiffItem {
    /// A tag, the path of a file, or the digest of a manifest that no tag and no other manifest names.
    pub name: String,
    /// Length in bytes of the file, or of the manifest that is meant: as it is in the second revision, and for what was
    /// removed as it was in the first.
    pub bytes: u64,
}

/// What the second of two revisions shows otherwise than the first, by name.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct Difference {
    /// Only in the second.
    pub added: Vec<DiffItem>,
    /// Only in the first.
    pub removed: Vec<DiffItem>,
    /// In both, with other content.
    pub changed: Vec<DiffItem>,
}

/// What a name meant at two revisions.
#[derive(Clone)]
pub(in crate::repo) struct Pair {
    pub name: ItemName,
    pub before: Option<ItemRecord>,
    pub after: Option<ItemRecord>,
}

impl Pair {
    /// Whether both mean the same.
    fn is_same(&self) -> bool {
        match (&self.before, &self.after) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                a.target == b.target && a.size == b.size && a.media_type == b.media_type
            }
            _ => false,
        }
    }

    /// Whether it is a manifest that is in one of the two alone, and something there names it.
    fn is_named(&self, r: &Read<'_>, before: Shown, after: Shown) -> Result<bool, RepoError> {
        let there = match (&self.before, &self.after) {
            (Some(_), None) => before,
            (None, Some(_)) => after,
            _ => return Ok(false),
        };
        match self.name.as_name().as_manifest() {
            Some(digest) => is_named(r, there.id, &digest, there.rev),
            None => Ok(false),
        }
    }
}

impl Repos {
    /// What a repository shows otherwise as of `to` than as of `from`, whichever is the older one.
    ///
    /// # Errors
    /// [`RepoError::SnapshotUnknown`] and [`RepoError::Refused`] as for any read of the past; [`RepoError::Refused`] also if
    /// more than 500,000 names changed in between.
    pub async fn diff_snapshots(
        &self,
        name: &RepoName,
        from: &At,
        to: &At,
    ) -> Result<Difference, RepoError> {
        let mut diff = Difference::default();
        let shown = self.pair_of(name, from, to).await?;
        for pair in self.pairs(name, from, to, shown).await? {
            let item = |item: &ItemRecord| DiffItem {
                name: words(&pair.name),
                bytes: item.size,
            };
            match (&pair.before, &pair.after) {
                (Some(_), Some(after)) => diff.changed.push(item(after)),
                (None, Some(after)) => diff.added.push(item(after)),
                (Some(before), None) => diff.removed.push(item(before)),
                (None, None) => {}
            }
        }
        for list in [&mut diff.added, &mut diff.removed, &mut diff.changed] {
            list.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(diff)
    }

    /// Both revisions.
    pub(in crate::repo) async fn pair_of(
        &self,
        name: &RepoName,
        from: &At,
        to: &At,
    ) -> Result<(Shown, Shown), RepoError> {
        let (name, from, to) = (name.clone(), from.clone(), to.clone());
        self.hop(move |_, r| Ok((any_shown(r, &name, &from)?, any_shown(r, &name, &to)?)))
            .await
    }

    /// The names that mean something else at the second revision than at the first; of manifests those alone that nothing
    /// names.
    async fn pairs(
        &self,
        name: &RepoName,
        from: &At,
        to: &At,
        (before, after): (Shown, Shown),
    ) -> Result<Vec<Pair>, RepoError> {
        let names = self.changed_between(name, before, after).await?;
        let mut pairs = self.compare(&names, before, after).await?;
        pairs.retain(|pair| !pair.is_same());
        let pairs = self.without_named(pairs, before, after).await?;
        // Both are still kept: what was read is what they show.
        self.pair_of(name, from, to).await?;
        Ok(pairs)
    }

    /// Leaves out manifests that came or went with what names them.
    async fn without_named(
        &self,
        pairs: Vec<Pair>,
        before: Shown,
        after: Shown,
    ) -> Result<Vec<Pair>, RepoError> {
        let mut left = Vec::with_capacity(pairs.len());
        let mut pairs = pairs.into_iter().peekable();
        while pairs.peek().is_some() {
            let some: Vec<Pair> = pairs.by_ref().take(MANIFESTS).collect();
            let some = Arc::new(some);
            let asked = Arc::clone(&some);
            let named = self.hop(move |_, r| {
                let named = asked.iter().map(|pair| pair.is_named(r, before, after));
                named.collect::<Result<Vec<bool>, RepoError>>()
            });
            let named = named.await?;
            let some = some.iter().zip(named).filter(|(_, named)| !named);
            left.extend(some.map(|(pair, _)| pair.clone()));
        }
        Ok(left)
    }

    /// The names that changed between two revisions, each once.
    pub(in crate::repo) async fn changed_between(
        &self,
        name: &RepoName,
        before: Shown,
        after: Shown,
    ) -> Result<Vec<ItemName>, RepoError> {
        let id = before.id;
        let low = before.rev.min(after.rev);
        let high = before.rev.max(after.rev);
        let (mut at, _) = keys::change_names(id, Rev(low.0 + 1));
        let end = keys::change_head(id, Rev(high.0 + 1));
        let (mut seen, mut names) = (HashSet::new(), Vec::new());
        while at < end {
            let start = at.clone();
            let last = end.clone();
            let rows = self.hop(move |_, r| Ok(r.scan(Table::Changes, &start, &last, CHANGES)?));
            let rows = rows.await?;
            for (key, _) in &rows {
                if let Some(name) = keys::name_of_change(key).map(|name| name.to_owned())
                    && seen.insert(name.clone())
                {
                    names.push(name);
                }
            }
            if names.len() > MOST {
                return Err(RepoError::Refused(format!(
                    "more than {MOST} names of {name} changed between the two revisions, which is too much to compare"
                )));
            }
            match rows.last().filter(|_| rows.len() == CHANGES) {
                Some((last, _)) => at = [last.as_slice(), &[0]].concat(),
                None => break,
            }
        }
        Ok(names)
    }

    /// What names mean at two revisions.
    pub(in crate::repo) async fn compare(
        &self,
        names: &[ItemName],
        before: Shown,
        after: Shown,
    ) -> Result<Vec<Pair>, RepoError> {
        let mut pairs = Vec::new();
        for some in names.chunks(NAMES) {
            let some = some.to_vec();
            let found = self.hop(move |_, r| {
                let mut found = Vec::with_capacity(some.len());
                for name in &some {
                    let then = item(r, before.id, &name.as_name(), before.rev)?;
                    let now = item(r, after.id, &name.as_name(), after.rev)?;
                    found.push(Pair {
                        name: name.clone(),
                        before: then,
                        after: now,
                    });
                }
                Ok(found)
            });
            pairs.extend(found.await?);
        }
        Ok(pairs)
    }
}

/// What a name means at a revision.
fn item(
    r: &Read<'_>,
    id: RepoId,
    name: &Name<'_>,
    rev: Rev,
) -> Result<Option<ItemRecord>, RepoError> {
    Ok(rows::at(r, id, name, rev)?.map(|(_, item)| item))
}

/// Whether a tag or another manifest names a manifest at a revision, as far as that is seen in a few looks.
fn is_named(r: &Read<'_>, id: RepoId, digest: &Digest, rev: Rev) -> Result<bool, RepoError> {
    for class in [Class::Tag, Class::Manifest] {
        let (from, to) = keys::refs_in(digest, id, class).range();
        for (key, _) in r.scan(Table::Refs, &from, &to, NAMED_BY)? {
            let Some((_, _, rest)) = keys::ref_head(&key) else {
                continue;
            };
            let is_there = match class {
                Class::Tag => match keys::text_of_ref(rest) {
                    Some((tag, added)) => is_at(r, id, &Name::tag(tag), added, rev)?,
                    None => false,
                },
                _ => match keys::parent_of(rest).filter(|(parent, _)| parent != digest) {
                    Some((parent, added)) => is_at(r, id, &Name::manifest(&parent), added, rev)?,
                    None => false,
                },
            };
            if is_there {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether the row that this revision added was there at `rev`.
fn is_at(
    r: &Read<'_>,
    id: RepoId,
    name: &Name<'_>,
    added: Rev,
    rev: Rev,
) -> Result<bool, RepoError> {
    let found = rows::at(r, id, name, rev)?;
    Ok(found.is_some_and(|(found, _)| found == added))
}

fn words(name: &ItemName) -> String {
    let name = name.as_name();
    match name.as_manifest() {
        Some(digest) => digest.to_string(),
        None => String::from_utf8_lossy(name.bytes()).into_owned(),
    }
}
