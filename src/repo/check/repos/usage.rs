//! The figures of repositories.

use crate::repo::check::mend::Mend;
use crate::repo::check::report::{Problem, ProblemKind};
use crate::repo::check::walk::{self, Owner, PAGE, Walk, owner, repo_name};
use crate::repo::error::RepoError;
use crate::repo::rows::keys::{self, Class};
use crate::repo::rows::number;
use crate::repo::rows::record::{BlobRecord, ItemRecord, UsageRecord};
use crate::store::key::Parts;
use crate::store::record::Record;
use crate::store::{Get, Read, Table};
use crate::types::{Digest, RepoId};
use std::collections::{BTreeSet, HashMap};

/// The figures of every repository, against the sums of the pass; those that differ are counted again in this one read.
pub(in crate::repo::check) fn all(walk: &mut Walk, r: &Read<'_>) -> Result<(), RepoError> {
    let mut suspects = BTreeSet::new();
    let mut from = Vec::new();
    loop {
        let rows = r.scan(Table::Usage, &from, &[], PAGE)?;
        walk.rows += rows.len() as u64;
        for (key, value) in &rows {
            let id = RepoId(number(key));
            match owner(r, id)? {
                Owner::There(record) if !record.deleted => {}
                Owner::Gone if !walk.unsure.contains(&id.0) => {
                    let what = format!("figures of repository number {}", id.0);
                    let mend = Mend::drop(Vec::new(), Table::Usage, key.clone(), value.clone());
                    walk.mend(Problem::new(ProblemKind::UsageExtra, what), mend);
                    continue;
                }
                _ => continue,
            }
            let stored = walk::readable(UsageRecord::from_bytes(value))?;
            if stored.is_none_or(|stored| stored != walk.counted(id)) {
                suspects.insert(id.0);
            }
        }
        match walk::next(&rows, PAGE) {
            Some(next) => from = next,
            None => break,
        }
    }
    let counted: Vec<u64> = walk
        .usage
        .keys()
        .chain(walk.unlinked.keys())
        .copied()
        .collect();
    for id in counted {
        let none = UsageRecord::default();
        if walk.counted(RepoId(id)) != none
            && r.get(Table::Usage, &keys::repo(RepoId(id)))?.is_none()
            && matches!(owner(r, RepoId(id))?, Owner::There(record) if !record.deleted)
        {
            suspects.insert(id);
        }
    }
    suspects.retain(|id| !walk.unsure.contains(id));
    if suspects.is_empty() {
        return Ok(());
    }
    let exact = count(r, &suspects)?;
    for id in suspects {
        compare(walk, r, RepoId(id), exact.get(&id))?;
    }
    Ok(())
}

fn compare(
    walk: &mut Walk,
    r: &Read<'_>,
    id: RepoId,
    right: Option<&UsageRecord>,
) -> Result<(), RepoError> {
    let mut right = right.cloned().unwrap_or_default();
    right.bytes += walk.unlinked.get(&id.0).copied().unwrap_or_default();
    let row = r.get(Table::Usage, &keys::repo(id))?;
    let seen = match &row {
        Some(row) => walk::readable(UsageRecord::from_bytes(row))?,
        None => Some(UsageRecord::default()),
    };
    if seen.as_ref() == Some(&right) {
        return Ok(());
    }
    let name = repo_name(r, id)?;
    let is = seen.clone().unwrap_or_default();
    let what = format!(
        "{name} counts {} tags, {} manifests, {} files, {} bytes; it has {}, {}, {}, {}",
        is.tags,
        is.manifests,
        is.files,
        is.bytes,
        right.tags,
        right.manifests,
        right.files,
        right.bytes
    );
    let more = |is: u64, right: u64| i128::from(right) - i128::from(is);
    let mend = Mend::Usage {
        id,
        tags: more(is.tags, right.tags),
        manifests: more(is.manifests, right.manifests),
        files: more(is.files, right.files),
        bytes: more(is.bytes, right.bytes),
    };
    walk.mend(Problem::new(ProblemKind::UsageWrong, what).repo(name), mend);
    Ok(())
}

impl Walk {
    fn counted(&self, id: RepoId) -> UsageRecord {
        let mut usage = self.usage.get(&id.0).cloned().unwrap_or_default();
        usage.bytes += self.unlinked.get(&id.0).copied().unwrap_or_default();
        usage
    }
}

/// What these repositories hold, in one read.
fn count(r: &Read<'_>, ids: &BTreeSet<u64>) -> Result<HashMap<u64, UsageRecord>, RepoError> {
    let mut sums: HashMap<u64, UsageRecord> = HashMap::new();
    for id in ids {
        let usage = sums.entry(*id).or_default();
        for class in Class::of_items() {
            let (mut from, to) = keys::items(RepoId(*id), class, false).range();
            loop {
                let rows = r.scan(Table::Items, &from, &to, PAGE)?;
                for (_, row) in &rows {
                    let size =
                        walk::readable(ItemRecord::from_bytes(row))?.map_or(0, |item| item.size);
                    usage.add(class, size);
                }
                match walk::next(&rows, PAGE) {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
    }
    let mut from = Vec::new();
    loop {
        let rows = r.scan(Table::Refs, &from, &[], 10 * PAGE)?;
        for (key, _) in &rows {
            let Some((id, class, rest)) = keys::ref_head(key) else {
                continue;
            };
            if class != Class::Link as u8 || !rest.is_empty() || !ids.contains(&id.0) {
                continue;
            }
            let Some(digest) = Parts(key).digest() else {
                continue;
            };
            sums.entry(id.0).or_default().bytes += size_of(r, &digest)?;
        }
        match walk::next(&rows, 10 * PAGE) {
            Some(next) => from = next,
            None => break,
        }
    }
    count_files(r, &mut sums)?;
    Ok(sums)
}

/// The bytes of live files, each content once a repository.
fn count_files(r: &Read<'_>, sums: &mut HashMap<u64, UsageRecord>) -> Result<(), RepoError> {
    let mut from = Vec::new();
    loop {
        let rows = r.scan(Table::Mentions, &from, &[], 10 * PAGE)?;
        for (key, _) in &rows {
            if let Some((id, class, [])) = keys::ref_head(key)
                && class == Class::Path as u8
                && let Some(sum) = sums.get_mut(&id.0)
                && let Some(digest) = Parts(key).digest()
            {
                sum.bytes += size_of(r, &digest)?;
            }
        }
        match walk::next(&rows, 10 * PAGE) {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

fn size_of(r: &Read<'_>, digest: &Digest) -> Result<u64, RepoError> {
    let Some(row) = r.get(Table::Blobs, digest.as_key())? else {
        return Ok(0);
    };
    Ok(walk::readable(BlobRecord::from_bytes(&row))?.map_or(0, |blob| blob.size))
}
